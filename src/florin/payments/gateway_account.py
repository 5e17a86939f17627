"""Gateway account: a merchant's own account at a gateway, with its secrets sealed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database, Row

GatewaySecret = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=255,
        pattern=r"^[!-~]+$(?!\n)",
        description="Printable ASCII without spaces, as the gateway shows it.",
        examples=["whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"],
    ),
]
StripeKey = Annotated[
    str,
    Meta(
        min_length=12,
        max_length=255,
        pattern=r"^(sk|rk)_(live|test)_[!-~]+$(?!\n)",
        description="A secret or restricted key of Stripe: sk_test_…, rk_live_….",
        examples=["sk_test_4eC39HqLyjWDarjtT1zdp7dc"],
    ),
]
AccountProvider = Literal["stripe", "paypal"]

# What each provider needs, and last what it may have.
_FIELDS: dict[str, tuple[str, ...]] = {
    "stripe": ("secret_key", "webhook_secret"),
    "paypal": ("client_id", "client_secret", "webhook_id"),
}
_OTHER = {"stripe": "paypal", "paypal": "stripe"}

_FIND = """
select *, previous_until > clock_timestamp() as both_secrets from florin.gateway
where merchant = $1 and id = $2
"""


class GatewaySecrets(msgspec.Struct, kw_only=True):
    """The secrets of an account, as they are sealed. Of PayPal: `client_id`, its secret as
    `secret_key`, and the id of the webhook as `webhook_secret`.
    """

    secret_key: str
    webhook_secret: str = ""
    webhook_secret_previous: str = ""
    client_id: str = ""


class GatewayRequest(Request, kw_only=True):
    """Connect an account. `live`: for real money. Stripe: `secret_key`, a key of that mode, and
    `webhook_secret`. PayPal: `client_id`, `client_secret` and `webhook_id`. What webhooks are
    verified with may be given later: the gateway shows it once it knows their address.
    """

    provider: AccountProvider
    real_money: bool = msgspec.field(name="live")
    secret_key: StripeKey | None = None
    webhook_secret: GatewaySecret | None = None
    client_id: GatewaySecret | None = None
    client_secret: GatewaySecret | None = None
    webhook_id: GatewaySecret | None = None


class GatewayChange(Request, kw_only=True):
    """A field that is left out is not changed. For 24 hours after a change of `webhook_secret` the
    previous one is accepted, too.
    """

    state: Literal["on", "off"] | msgspec.UnsetType = msgspec.UNSET
    secret_key: StripeKey | msgspec.UnsetType = msgspec.UNSET
    webhook_secret: GatewaySecret | msgspec.UnsetType = msgspec.UNSET
    client_secret: GatewaySecret | msgspec.UnsetType = msgspec.UNSET
    webhook_id: GatewaySecret | msgspec.UnsetType = msgspec.UNSET


class GatewayAccount(msgspec.Struct, kw_only=True):
    """A connected account; its secrets are never shown. `account`: the gateway's own name of it,
    once it was tested. `webhook_path`: where the gateway sends webhooks, below the address of
    Florin. `takes_webhooks`: whether there is what they are verified with; until then that address
    does not exist.
    """

    id: str
    object: Literal["gateway"] = "gateway"
    provider: AccountProvider
    real_money: bool = msgspec.field(name="live")
    state: Literal["on", "off"]
    account: str | None
    webhook_path: str
    takes_webhooks: bool
    created_at: datetime


def seal_secrets(sealer: Sealer, merchant: UUID, gateway: UUID, secrets: GatewaySecrets) -> bytes:
    text = msgspec.json.encode(secrets).decode()
    return sealer.seal(text, bound_to=_binding(merchant, gateway))


def unseal_secrets(sealer: Sealer, row: Mapping[str, Any]) -> GatewaySecrets:
    """Raises UnsealFailed."""
    text = sealer.unseal(row["sealed"], bound_to=_binding(row["merchant"], row["id"]))
    return msgspec.json.decode(text, type=GatewaySecrets)


def account_from_row(sealer: Sealer, row: Mapping[str, Any]) -> GatewayAccount:
    text = ids.show_id("gtw", row["id"])
    return GatewayAccount(
        id=text,
        provider=row["provider"],
        real_money=row["live"],
        state=row["state"],
        account=row["account"],
        webhook_path=webhook_path(row["provider"], text),
        takes_webhooks=bool(unseal_secrets(sealer, row).webhook_secret),
        created_at=row["created_at"],
    )


def webhook_path(provider: str, gateway: str) -> str:
    """Where a gateway sends its webhooks; `gateway` is `default` or `gtw_…`."""
    return f"/api/v1/hooks/{provider}/{gateway}"


async def find_account_row(database: Database, merchant: UUID, text: str) -> Row:
    """Raises NotFound."""
    row = await database.one(_FIND, merchant, ids.require_id("gtw", text))
    if row is None:
        raise NotFound
    return row


async def list_accounts(
    database: Database, sealer: Sealer, merchant: UUID, *, limit: int, after: UUID | None
) -> list[GatewayAccount]:
    rows = await database.all(
        "select * from florin.gateway where merchant = $1 and ($2::uuid is null or id < $2)"
        " order by id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [account_from_row(sealer, row) for row in rows]


def secrets_of_request(request: GatewayRequest) -> GatewaySecrets:
    """Raises InvalidRequest for a missing field, and for one of the other provider."""
    for name in _FIELDS[request.provider][:-1]:
        if getattr(request, name) is None:
            raise InvalidRequest(f"{request.provider} needs {name}", param=name)
    for name in _FIELDS[_OTHER[request.provider]]:
        if getattr(request, name) is not None:
            raise InvalidRequest(f"{request.provider} has no {name}", param=name)
    if request.secret_key is not None:
        _check_key_mode(request.secret_key, real_money=request.real_money)
    return GatewaySecrets(
        secret_key=request.secret_key or request.client_secret or "",
        webhook_secret=request.webhook_secret or request.webhook_id or "",
        client_id=request.client_id or "",
    )


def change_secrets(
    row: Mapping[str, Any], secrets: GatewaySecrets, change: GatewayChange
) -> GatewaySecrets:
    """The secrets after a change. Raises InvalidRequest."""
    for name in _FIELDS[_OTHER[row["provider"]]]:
        if getattr(change, name, msgspec.UNSET) is not msgspec.UNSET:
            raise InvalidRequest(f"{row['provider']} has no {name}", param=name)
    given: dict[str, str] = {}
    if isinstance(change.secret_key, str):
        _check_key_mode(change.secret_key, real_money=row["live"])
        given["secret_key"] = change.secret_key
    if isinstance(change.client_secret, str):
        given["secret_key"] = change.client_secret
    if isinstance(change.webhook_id, str):
        given["webhook_secret"] = change.webhook_id
    if isinstance(change.webhook_secret, str):
        given["webhook_secret_previous"] = secrets.webhook_secret
        given["webhook_secret"] = change.webhook_secret
    return msgspec.structs.replace(secrets, **given)


def _check_key_mode(key: str, *, real_money: bool) -> None:
    """Raises InvalidRequest."""
    modes = ("sk_live_", "rk_live_") if real_money else ("sk_test_", "rk_test_")
    if not key.startswith(modes):
        live = str(real_money).lower()
        detail = f"with live {live} the key begins with {modes[0]} or {modes[1]}"
        raise InvalidRequest(detail, param="secret_key")


def _binding(merchant: UUID, gateway: UUID) -> bytes:
    return b"gateway" + merchant.bytes + gateway.bytes
