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


def location_of(context: RequestContext, given: str | None) -> str | None:
    """Where it happens. Raises Forbidden for another place than the caller's."""
    if context.location is not None and given not in {None, context.location}:
        raise Forbidden(f"this key acts at {context.location} only, not at {given}")
    return context.location or given


async def require_own(
    database: Database, context: RequestContext, sql: str, resource_id: UUID
) -> None:
    """Raises Forbidden for a hold, redemption or job of another location than the caller's. When
    there is none of this id, the ledger refuses it.
    """
    if context.location is None:
        return
    row = await database.one(sql, context.merchant, resource_id)
    if row is not None and row["location"] != context.location:
        raise Forbidden(
            f"this key acts at {context.location} only, and this is of another location"
        )
