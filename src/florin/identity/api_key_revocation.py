"""API key revocation: a key ends with what gave it its rights: the keys that it made end with it,
and the keys that a member made end where the member's right to make them does.
"""

from uuid import UUID

from florin.identity import audit_log
from florin.identity.api_keys import ApiKey, facts, key_from_row, key_id
from florin.identity.audit_log import AuditActor
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.errors import Forbidden, NotFound
from florin.kit.postgres.database import Database, Row, Tx

_LOCK = "select * from florin.api_key where merchant = $1 and id = $2 for update"
# The keys themselves, and those made by them, by those, and so on.
_REVOKE = """
with recursive ended as (
  select unnest($2::uuid[]) as id
  union
  select k.id from ended e
  join florin.api_key k on k.merchant = $1 and k.made_by = 'key_' || replace(e.id::text, '-', '')
)
update florin.api_key k set revoked_at = clock_timestamp() from ended e
where k.merchant = $1 and k.id = e.id and k.revoked_at is null returning k.*
"""
_MADE_BY = """
select id from florin.api_key
where merchant = $1 and made_by = $2 and ($3::text[] is null or not scopes <@ $3)
"""


async def revoke(
    database: Database,
    by: AuditActor,
    text: str,
    *,
    allowed: frozenset[str],
    location: str | None,
) -> ApiKey:
    """Raises NotFound; Forbidden for a key that may more than the caller, or elsewhere. A key that
    was revoked before stays so.
    """
    async with database.transaction() as tx:
        was = await tx.one(_LOCK, by.merchant, key_id(text))
        if was is None:
            raise NotFound
        _require_within(allowed, location, was)
        await _revoke(tx, by, [was["id"]])
        row = await tx.one(_LOCK, by.merchant, was["id"])
    assert row is not None, "keys are never deleted"
    return key_from_row(row)


async def revoke_made_by(
    tx: Tx, by: AuditActor, maker: str, *, beyond: frozenset[str] | None = None
) -> None:
    """Revoke the keys that a member made; with `beyond` those that may more than that."""
    within = None if beyond is None else sorted(beyond)
    rows = await tx.all(_MADE_BY, by.merchant, maker, within)
    await _revoke(tx, by, [row["id"] for row in rows])


async def _revoke(tx: Tx, by: AuditActor, keys: list[UUID]) -> None:
    # Again until there is none left: a key that was being made while its maker was waited for is
    # seen by the next statement.
    while rows := await tx.all(_REVOKE, by.merchant, keys):
        for row in rows:
            subject = ids.show_id("key", row["id"])
            await audit_log.record_audit(
                tx, by, "api_key.revoked", subject, before=facts(key_from_row(row))
            )


def _require_within(allowed: frozenset[str], location: str | None, was: Row) -> None:
    # A scope that there is no longer is nothing that anybody could lack.
    lacking = sorted(set(was["scopes"]) & SCOPES - allowed)
    if lacking:
        raise Forbidden(f"this key may do what you may not: {lacking[0]}")
    if location is not None and was["location"] != location:
        raise Forbidden(f"you cannot revoke a key for another location than {location}")
