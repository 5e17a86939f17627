"""PayPal objects: the order that PayPal is asked for; what its objects say, in Florin's words."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.payments.gateway import (
    GatewayUnavailable,
    PaymentRow,
    Seen,
    SeenDispute,
    SeenRefund,
)
from florin.payments.gateway_amounts import from_paypal, to_paypal
from florin.payments.gateway_event import GatewayEvent

Json = dict[str, Any]
SIGNED_HEADERS = {
    "auth_algo": "paypal-auth-algo",
    "cert_url": "paypal-cert-url",
    "transmission_id": "paypal-transmission-id",
    "transmission_sig": "paypal-transmission-sig",
    "transmission_time": "paypal-transmission-time",
}
_CAPTURES: dict[str, Literal["processing", "paid", "failed"]] = {
    "COMPLETED": "paid",
    "PARTIALLY_REFUNDED": "paid",
    "REFUNDED": "paid",
    "PENDING": "processing",
    "DECLINED": "failed",
    "FAILED": "failed",
}
_WAITS_FOR_SELLER = {"OPEN", "WAITING_FOR_SELLER_RESPONSE"}
_REFUNDS: dict[str, Literal["pending", "done", "failed"]] = {
    "COMPLETED": "done",
    "FAILED": "failed",
    "CANCELLED": "failed",
}
_LOST = {"RESOLVED_BUYER_FAVOUR", "ACCEPTED"}
_WON = {"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "DENIED"}
_UNDECIDED = "NONE"  # closed without a decision


def order_parameters(payment: PaymentRow) -> Json:
    """The parameters of an order, made of the payment's row alone."""
    return {
        "intent": "CAPTURE",
        "purchase_units": [
            {
                "custom_id": payment.id.hex,
                "invoice_id": payment.id.hex,  # once in an account: a second guard
                "description": f"{payment.merchant_name}, {payment.order_number}"[:127],
                "amount": money(payment.amount, payment.currency),
            }
        ],
        "payment_source": {
            "paypal": {
                "experience_context": {
                    "return_url": payment.return_url,
                    "cancel_url": payment.return_url,
                    "user_action": "PAY_NOW",
                    "shipping_preference": "NO_SHIPPING",
                }
            }
        },
    }


def captured_state(
    seen: Seen, capture: Json
) -> tuple[Literal["processing", "paid", "failed"], Seen]:
    """The state of a capture; an approved order with a pending capture is no money yet."""
    state = _CAPTURES.get(capture["status"], "processing")
    failure = _part(capture, "status_details").get("reason") if state == "failed" else None
    return state, msgspec.structs.replace(seen, state=state, failure=failure)


def captured_money(seen: Seen, order: Json, capture: Json, disputes: list[Json]) -> Seen:
    """What a complete capture says. `disputes`: with their details. Raises GatewayUnavailable."""
    currency = capture["amount"]["currency_code"]
    fee, fee_currency = _fee(capture)
    return msgspec.structs.replace(
        seen,
        state="paid",
        capture_ref=capture["id"],
        amount=from_paypal(capture["amount"]["value"], currency),
        currency=currency,
        ours=_uuid(capture.get("custom_id")),
        fee=fee,
        fee_currency=fee_currency,
        refunds=tuple(seen_refund(each) for each in _several(order, "refunds")),
        disputes=tuple(_dispute(each) for each in disputes),
    )


def money(amount: int, currency: str) -> Json:
    return {"currency_code": currency, "value": to_paypal(amount, currency)}


def first_capture(order: Json) -> Json | None:
    found = _several(order, "captures")
    return found[0] if found else None


def _several(order: Json, kind: str) -> list[Json]:
    """The captures or refunds of an order."""
    found: list[Json] = _part(order["purchase_units"][0], "payments").get(kind) or []
    return found


def _part(noun: Json, name: str) -> Json:
    """An object inside of another one, which may lack it."""
    part: Json = noun.get(name) or {}
    return part


def _fee(capture: Json) -> tuple[int, str]:
    """The fee and its currency, which follows the account if PayPal converts."""
    fee = _part(_part(capture, "seller_receivable_breakdown"), "paypal_fee")
    if not fee:
        return 0, ""
    return from_paypal(fee["value"], fee["currency_code"]), fee["currency_code"]


def seen_refund(each: Json) -> SeenRefund:
    return SeenRefund(
        ref=each["id"],
        amount=from_paypal(each["amount"]["value"], each["amount"]["currency_code"]),
        state=_REFUNDS.get(each["status"], "pending"),
        ours=_uuid(each.get("custom_id")),
        failure=each["status"].lower() if _REFUNDS.get(each["status"]) == "failed" else None,
    )


def _dispute(each: Json) -> SeenDispute:
    outcome = _part(each, "dispute_outcome").get("outcome_code")
    state: Literal["open", "won", "lost", "closed"] = "open"
    if outcome in _LOST:
        state = "lost"
    elif outcome in _WON:
        state = "won"
    elif outcome == _UNDECIDED:
        state = "closed"
    elif each["status"] == "RESOLVED":
        # Whose the money is stays open: what is guessed here would unblock cards, or close them.
        raise GatewayUnavailable(f"PayPal's dispute ended with an unknown outcome: {outcome}")
    disputed = each["dispute_amount"]
    amount = from_paypal(disputed["value"], disputed["currency_code"])
    inquiry = each.get("dispute_life_cycle_stage") == "INQUIRY"
    due = each.get("seller_response_due_date") if each["status"] in _WAITS_FOR_SELLER else None
    return SeenDispute(
        ref=each["dispute_id"],
        kind="inquiry" if inquiry else "chargeback",
        state=state,
        amount=amount,
        withdrawn=amount if state == "lost" else 0,
        due_at=datetime.fromisoformat(due) if due else None,
    )


def read_paypal_event(event: Json) -> GatewayEvent:
    """What an event is about: an order, a capture, a refund or a dispute."""
    noun = _part(event, "resource")
    units: list[Json] = noun.get("purchase_units") or []
    related = _part(_part(noun, "supplementary_data"), "related_ids")
    disputed: list[Json] = noun.get("disputed_transactions") or []
    capture = disputed[0].get("seller_transaction_id") if disputed else related.get("capture_id")
    is_order = str(event.get("event_type", "")).startswith("CHECKOUT.ORDER")
    is_capture = str(event.get("event_type", "")).startswith("PAYMENT.CAPTURE")
    if is_capture and capture is None:
        capture = _up(noun) or noun.get("id")
    mark = units[0].get("custom_id") if units else noun.get("custom_id")
    return GatewayEvent(
        ref=str(event.get("id"))[:255],
        kind=str(event.get("event_type"))[:100],
        payment=_uuid(mark),
        reference=noun.get("id") if is_order else related.get("order_id"),
        capture_ref=capture,
    )


def _up(noun: Json) -> str | None:
    """The capture to which a refund links."""
    links = (each["href"] for each in noun.get("links") or () if each["rel"] == "up")
    return next((str(href).rpartition("/")[2] for href in links), None)


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text)) if text else None
    except ValueError:
        return None
