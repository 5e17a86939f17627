"""Locations: a key that is bound to one acts there only: it spends there, it captures, frees and
gives back what was held or spent there, and takes the codes of the jobs that it began there.
"""

from uuid import UUID

from florin.cards.request_context import RequestContext
from florin.kit.errors import Forbidden
from florin.kit.postgres.database import Database

# Neither changes, so that it may be read before the ledger is asked.
OF_HOLD = "select location from florin.hold where merchant = $1 and id = $2"
OF_JOB = "select location from florin.job where merchant = $1 and id = $2"
# A capture did not always record where its hold was placed.
OF_REDEMPTION = """
select coalesce(t.location, h.location) as location from florin.transfer t
left join florin.hold h on h.merchant = t.merchant and h.id = t.origin
where t.merchant = $1 and t.id = $2 and t.kind = 'redeem'
"""


def location_of(asked: RequestContext, given: str | None) -> str | None:
    """Where it happens. Raises Forbidden for another place than the caller's."""
    if asked.location is not None and given not in {None, asked.location}:
        raise Forbidden(f"this key acts at {asked.location} only, not at {given}")
    return asked.location or given


async def require_own(database: Database, asked: RequestContext, sql: str, noun: UUID) -> None:
    """Raises Forbidden for a hold, redemption or job of another place than the caller's. What is
    not there is left to the ledger to say.
    """
    if asked.location is None:
        return
    row = await database.one(sql, asked.merchant, noun)
    if row is not None and row["location"] != asked.location:
        raise Forbidden(f"this key acts at {asked.location} only, and this is of another location")
