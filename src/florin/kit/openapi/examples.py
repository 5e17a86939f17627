"""Examples: one plausible value of every schema, generated from the schema.

A test validates each example against its schema. A field that needs a particular value has it as
`examples` in its type, or by its name in `_VALUES` below.
"""

from collections.abc import Mapping
from typing import Any

from florin.kit.http import sse

Json = Mapping[str, Any]

# The prefix of ids, by route and by field; "" is the part after the prefix.
ID: dict[str, str] = {
    "": "01a20e61e846768583118b9d6d8d48f4",
    "api-keys": "key",
    "members": "usr",
    "programs": "prg",
    "cards": "crd",
    "redemptions": "red",
    "refunds": "rfd",
    "loads": "lod",
    "transfers": "trf",
    "adjustments": "adj",
    "cash-outs": "cso",
    "commission-rates": "cmr",
    "settlement-balances": "mer",
    "payout-batches": "pob",
    "payouts": "pyo",
    "payout": "pyo",
    "batch": "pob",
    "rate": "cmr",
    "merchant": "mer",
    "holds": "hld",
    "deliveries": "dlv",
    "suppressions": "sup",
    "entries": "ent",
    "events": "evt",
    "jobs": "job",
    "sessions": "ses",
    "audit": "aud",
    "orders": "ord",
    "payments": "pay",
    "payment-refunds": "prf",
    "disputes": "dsp",
    "gateways": "gtw",
    "test-gateway": "pay",
    "order": "ord",
    "payment": "pay",
    "webhook-endpoints": "whe",
    "webhook-deliveries": "whd",
    "endpoint": "whe",
    "event": "evt",
    "job": "job",
    "card": "crd",
    "from": "crd",
    "to": "crd",
    "program": "prg",
    "redemption": "red",
    "hold": "hld",
    "delivery": "dlv",
    "actor": "usr",
    "user": "usr",
    "member": "usr",
    "starting_after": "crd",
}
_KINDS = {
    "Card": "crd",
    "Program": "prg",
    "Redemption": "red",
    "Refund": "rfd",
    "Load": "lod",
    "Transfer": "trf",
    "Adjustment": "adj",
    "CashOut": "cso",
    "CommissionRate": "cmr",
    "PayoutBatch": "pob",
    "Payout": "pyo",
    "Hold": "hld",
    "Entry": "ent",
    "Event": "evt",
    "ApiKey": "key",
    "Merchant": "mer",
    "User": "usr",
    "Member": "usr",
    "Job": "job",
    "Order": "ord",
    "Payment": "pay",
    "PaymentRefund": "prf",
    "Dispute": "dsp",
    "GatewayAccount": "gtw",
    "Delivery": "dlv",
    "WebhookEndpoint": "whe",
    "WebhookDelivery": "whd",
}
_VALUES: dict[str, Any] = {
    "name": "Ada",
    "email": "ada@example.com",
    "password": "correct horse battery staple",
    "country": "NL",
    "currency": "EUR",
    "timezone": "Europe/Amsterdam",
    "code": "M4H0-0NX1-8FT6-GXMN",
    "last4": "GXMN",
    "amount": 2500,
    "min_amount": 500,
    "max_amount": 50000,
    "balance": 2500,
    "available": 2500,
    "held": 0,
    "refunded": 0,
    "captured": 0,
    "has_more": False,
    "limit": 20,
    "reference": "order-1042",
    "location": "till-3",
    "reason": "goodwill",
    "idempotency_key": "till-3-0001",
    "Idempotency-Key": "till-3-0001",
    "Florin-Client-Ip": "203.0.113.7",
    "scopes": ["cards:read", "redemptions:write"],
    "metadata": {"order": "1042"},
    "as_of": "2026-11-24T16:00:00Z",
    "secret": "flk_…",
    "type": "card.redeemed",
    "Last-Event-ID": "evt_01a20e61e846768583118b9d6d8d48f4",
}
TEXTS = {  # by media type
    "application/pdf": "%PDF-1.7 …",
    "text/csv": "code\nM4H0-0NX1-8FT6-GXMN\n",
    sse.KIND: 'id: evt_01a20e61e846768583118b9d6d8d48f4\ndata: {"id":'
    '"evt_01a20e61e846768583118b9d6d8d48f4","object":"event","type":"card.redeemed"}\n\n',
}
_TIME = "2026-11-24T16:27:07.206897Z"


def example_value(schema: Json, name: str, schemas: Json) -> Any:
    """A value that is valid by the schema."""
    if "$ref" in schema:
        return example_value(schemas[schema["$ref"].rsplit("/", 1)[1]], name, schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    for many in ("anyOf", "oneOf"):
        if many in schema:
            options = [each for each in schema[many] if each.get("type") != "null"]
            return example_value({**options[0], "title": schema.get("title", "")}, name, schemas)
    if "const" in schema or "enum" in schema:
        choices: list[Any] = [schema["const"]] if "const" in schema else list(schema["enum"])
        return next(each for each in choices if each is not None)
    return _plain(schema, name, schemas)


def _plain(schema: Json, name: str, schemas: Json) -> Any:
    kind = schema.get("type", "object")
    if kind == "object":
        return _object(schema, name, schemas)
    if name in _VALUES and isinstance(_VALUES[name], _PYTHON[kind]):
        return _VALUES[name]
    if kind == "array":
        return (
            [example_value(schema["items"], name.removesuffix("s"), schemas)]
            if "items" in schema
            else []
        )
    if kind == "string":
        return _text(schema, name)
    return {"integer": int(schema.get("minimum", 1)), "boolean": True, "null": None}.get(kind, 1)


def problem_example(status: int, code: str, title: str) -> dict[str, Any]:
    """An example of a refusal's problem document."""
    more: dict[str, Any] = {"available": 3750} if code == "insufficient_funds" else {}
    more |= {"param": "amount"} if code in {"invalid_request", "amount_not_allowed"} else {}
    return {
        "type": f"/api/v1/docs#{code}",
        "title": title,
        "status": status,
        "detail": title,
        "code": code,
        "request_id": f"req_{ID['']}",
        **more,
    }


def _object(schema: Json, name: str, schemas: Json) -> Any:
    if "properties" not in schema:
        return _VALUES.get(name, {})
    made: dict[str, Any] = {}
    both = {"code", "card"} <= set(schema["properties"]) and "object" not in schema["properties"]
    for key, field in schema["properties"].items():
        if key == "id":
            prefix = _KINDS.get(schema.get("title", ""), "obj")
            made[key] = f"{prefix}_{ID['']}"
        elif (both and key == "card") or key == "idempotency_key":
            made[key] = example_value(field, key, schemas)  # exactly one of card and code is given
        elif key != "problem" and field.get("default", ...) is not None:
            made[key] = example_value(field, key, schemas)  # the example shows success
    return made


def _text(schema: Json, name: str) -> str:
    if schema.get("format") == "date-time":
        return _TIME
    if name in ID:
        return f"{ID[name]}_{ID['']}"
    return f"{name or 'text'}…"


_PYTHON: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "null": type(None),
}
