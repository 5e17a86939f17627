"""Quotas: limits for each merchant, so that none uses up what others need. `quotas.sql` has the
default limits.

The operator changes them for a merchant; a change applies from the next request on.
"""

from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import QuotaExceeded
from florin.kit.postgres.database import Connection, Database, Tx

_LIMIT = "select quota_limit($1, $2) as most"
_SET = """
insert into florin.quota (merchant, name, most) values ($1, $2, $3)
on conflict (merchant, name) do update set most = excluded.most
"""
_AUDIT = """
insert into florin.audit (merchant, id, actor, action, subject, before, after)
values ($1, $2, $3, 'quota.changed', $4, jsonb_build_object('limit', $5::bigint),
  jsonb_build_object('limit', $6::bigint))
"""
_WAS = "select quota_limit($1, $2)"
_LISTED = """
select d.name, d.most as usual, q.merchant, q.most
from quotas() d left join florin.quota q on q.name = d.name order by d.name, q.merchant
"""


class Quota(msgspec.Struct, kw_only=True):
    """A quota: its default limit, and the merchants with another limit."""

    name: str
    default: int
    merchants: dict[UUID, int]


async def limit_of(database: Database, merchant: UUID, name: str) -> int:
    row = await database.one(_LIMIT, merchant, name)
    assert row is not None
    return int(row["most"])


async def take_job(tx: Tx, merchant: UUID, queue: str, cards: int) -> None:
    """Count a job and its cards, in the transaction that creates the job. Raises QuotaExceeded."""
    name: str | None = await tx.value("select take_job_quota($1, $2, $3)", merchant, queue, cards)
    if name is not None:
        raise QuotaExceeded.of(name, await tx.value(_WAS, merchant, name))


async def listed(connection: Connection) -> list[Quota]:
    quotas: dict[str, Quota] = {}
    for row in await connection.fetch(_LISTED):
        new = Quota(name=row["name"], default=row["usual"], merchants={})
        quota = quotas.setdefault(row["name"], new)
        if row["merchant"] is not None:
            quota.merchants[row["merchant"]] = row["most"]
    return list(quotas.values())


async def set_limit(
    connection: Connection, merchant: UUID, name: str, most: int, *, actor: str
) -> int:
    """Change a limit; return the previous one. Raises asyncpg.ForeignKeyViolationError."""
    async with connection.transaction():
        was: int = await connection.fetchval(_WAS, merchant, name)
        await connection.execute(_SET, merchant, name, most)
        await connection.execute(_AUDIT, merchant, ids.new_id(), actor, name, was, most)
    return was
