"""Locations: an API key that is bound to a location acts there only. It spends at that location,
captures, voids and refunds only holds and redemptions of that location, and downloads the codes
only of jobs that were started there.
"""

from uuid import UUID

from florin.cards.request_context import RequestContext
from florin.kit.errors import Forbidden
from florin.kit.postgres.database import Database

# Neither location ever changes, so it may be read before the ledger locks the card.
OF_HOLD = "select location from florin.hold where merchant = $1 and id = $2"
OF_JOB = "select location from florin.job where merchant = $1 and id = $2"
# Older captures did not record a location: the hold's counts.
OF_REDEMPTION = """
select coalesce(t.location, h.location) as location from florin.transfer t
left join florin.hold h on h.merchant = t.merchant and h.id = t.origin
where t.merchant = $1 and t.id = $2 and t.kind = 'redeem'
"""


def location_of(context: RequestContext, given: str | None) -> str | None:
    """The location of a transaction. Raises Forbidden when it is not the caller's."""
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
            f"this key acts at {context.location} only; this object has another location"
        )
