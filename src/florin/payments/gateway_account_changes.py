"""Gateway account changes: connect an account, change its secrets, turn it off and on."""

from typing import Any
from uuid import UUID

import msgspec

from florin.identity.audit_log import AuditActor, record_audit
from florin.identity.quotas import require_quota_left
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, NotFound, Refusal
from florin.kit.postgres.database import Database, Row, Tx
from florin.payments.gateway_account import (
    GatewayAccount,
    GatewayChange,
    GatewayRequest,
    account_from_row,
    change_secrets,
    seal_secrets,
    secrets_of_request,
    unseal_secrets,
)

BOTH_SECRETS_H = 24  # webhooks of the previous secret are accepted for so long

_INSERT = """
insert into florin.gateway (merchant, id, provider, live, sealed, made_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (merchant, provider, live) where state = 'on' do nothing returning *
"""
# One that is turned on at the same time waits for the merchant's row, and then finds the other.
_LOCK_MERCHANT = "select id from florin.merchant where id = $1 for no key update"
_LOCK = "select * from florin.gateway where merchant = $1 and id = $2 for no key update"
_IN_USE = """
select id from florin.gateway
where merchant = $1 and provider = $2 and live = $3 and state = 'on' and id <> $4
"""
_CHANGE = """
update florin.gateway set state = $3, sealed = $4,
  off_at = case when $3 = 'off' then coalesce(off_at, clock_timestamp()) end,
  previous_until = case when $5 then clock_timestamp() + make_interval(hours => $6)
    else previous_until end
where merchant = $1 and id = $2 returning *
"""
_NOTE_ACCOUNT = """
update florin.gateway set account = $3 where merchant = $1 and id = $2 and account is null
"""


class GatewayTaken(Refusal):
    """You already have a gateway of this provider and mode that is on: turn it off first."""

    code = "gateway_taken"
    status = 409


async def connect_account(
    database: Database, sealer: Sealer, by: AuditActor, request: GatewayRequest
) -> GatewayAccount:
    """Raises InvalidRequest, GatewayTaken, QuotaExceeded."""
    secrets = secrets_of_request(request)
    gateway = ids.new_id()
    async with database.transaction() as tx:
        await require_quota_left(tx, by.merchant, "gateways")
        row = await tx.one(
            _INSERT,
            by.merchant,
            gateway,
            request.provider,
            request.real_money,
            seal_secrets(sealer, by.merchant, gateway, secrets),
            by.actor,
        )
        if row is None:
            raise GatewayTaken
        made = account_from_row(sealer, row)
        facts = {"provider": made.provider, "live": made.real_money}
        await record_audit(tx, by, "gateway.connected", made.id, after=facts)
    return made


async def change_account(
    database: Database, sealer: Sealer, by: AuditActor, text: str, change: GatewayChange
) -> GatewayAccount:
    """Raises NotFound, InvalidRequest, GatewayTaken."""
    gateway = ids.require_id("gtw", text)
    async with database.transaction() as tx:
        await tx.one(_LOCK_MERCHANT, by.merchant)
        row = await tx.one(_LOCK, by.merchant, gateway)
        if row is None:
            raise NotFound
        was = unseal_secrets(sealer, row)
        secrets = change_secrets(row, was, change)
        state = row["state"] if change.state is msgspec.UNSET else change.state
        if state == "on":
            await _require_free(tx, row)
        changed = await tx.one(
            _CHANGE,
            by.merchant,
            gateway,
            state,
            seal_secrets(sealer, by.merchant, gateway, secrets),
            secrets.webhook_secret_previous != was.webhook_secret_previous,
            BOTH_SECRETS_H,
        )
        assert changed is not None
        before, after = {"state": row["state"]}, {"state": state, "secrets": _renewed(change)}
        await record_audit(tx, by, "gateway.changed", text, before=before, after=after)
    return account_from_row(sealer, changed)


async def note_account(
    database: Database, by: AuditActor, gateway: UUID, known: str | None, account: str
) -> str | None:
    """Record the gateway's own name of the account, at its first test. Return the problem if it is
    another account than before: its payments could not be found there.
    """
    if known is not None:
        return None if known == account else f"the key is of another account: {account}"
    async with database.transaction() as tx:
        await tx.run(_NOTE_ACCOUNT, by.merchant, gateway, account[:255])
    return None


def require_same_account(row: Row, account: str) -> None:
    """Raises InvalidRequest if a new key is of another account than the gateway's."""
    if row["account"] is not None and row["account"] != account:
        raise InvalidRequest(
            f"the key is of the account {account[:255]}, not {row['account']};"
            " connect another account as another gateway",
            param="secret_key",
        )


async def _require_free(tx: Tx, row: Row) -> None:
    """Raises GatewayTaken."""
    other = await tx.one(_IN_USE, row["merchant"], row["provider"], row["live"], row["id"])
    if other is not None:
        raise GatewayTaken


def _renewed(change: GatewayChange) -> list[str]:
    """The names of the secrets that a change gives; never what they are."""
    given: dict[str, Any] = msgspec.structs.asdict(change)
    return [name for name, value in given.items() if name != "state" and value is not msgspec.UNSET]
