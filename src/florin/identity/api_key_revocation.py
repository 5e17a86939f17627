"""API key revocation: revoke a key together with the keys that it created, and revoke the keys
that a member created when the member loses the right to create them.
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
# The keys and, recursively, all keys that they created.
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
    """Revoke a key. Revoking it again changes nothing.

    Raises NotFound; Forbidden for a key that has a scope which the caller lacks, or that is for
    another location.
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
    """Revoke the keys that a member created; with `beyond`, only those with a scope outside it."""
    within = None if beyond is None else sorted(beyond)
    rows = await tx.all(_MADE_BY, by.merchant, maker, within)
    await _revoke(tx, by, [row["id"] for row in rows])


async def _revoke(tx: Tx, by: AuditActor, keys: list[UUID]) -> None:
    # Repeated until no key is left: a key that was created while this transaction waited for the
    # lock on its creator is visible only to the next statement.
    while rows := await tx.all(_REVOKE, by.merchant, keys):
        for row in rows:
            subject = ids.show_id("key", row["id"])
            await audit_log.record_audit(
                tx, by, "api_key.revoked", subject, before=facts(key_from_row(row))
            )


def _require_within(allowed: frozenset[str], location: str | None, was: Row) -> None:
    # A scope that no longer exists is ignored: no caller can have it.
    lacking = sorted(set(was["scopes"]) & SCOPES - allowed)
    if lacking:
        raise Forbidden(f"This key has the scope {lacking[0]}, which you do not have")
    if location is not None and was["location"] != location:
        raise Forbidden(f"You can only revoke keys for the location {location}")
