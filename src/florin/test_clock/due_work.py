"""Due work: what happens to a merchant by time alone, as the test clock sees it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from florin.cards.jobs.expiry import HOLDS, expire_some
from florin.kit.postgres.database import Database
from florin.kit.queue.job import QueuedJob
from florin.test_clock.due_deliveries import find_next_delivery, send_what_is_due


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWork:
    """A kind of work that becomes due at an instant of the merchant's clock.

    `next_due`: the first instant after now at which something becomes due; None if nothing does.
    `run_due`: do a part of what is due now; return whether something may still be due.
    `is_settled`: whether the consequences of what happened until an instant have happened, too.
    """

    next_due: Callable[[Database, UUID], Awaitable[datetime | None]] | None = None
    run_due: Callable[[QueuedJob, UUID], Awaitable[bool]] | None = None
    is_settled: Callable[[Database, UUID, datetime], Awaitable[bool]] | None = None


_NEXT = """
select least(
  (select a.expires_at from florin.account a where a.merchant = $1
    and a.state in ('active', 'blocked') and a.expires_at > clock($1)
    order by a.expires_at limit 1),
  (select h.expires_at from florin.hold h where h.merchant = $1
    and h.state = 'open' and h.expires_at > clock($1) order by h.expires_at limit 1)
) as due
"""
# Also what another transaction has locked now: the clock waits for it.
_DUE = """
select exists (
  select from florin.account a where a.merchant = $1 and a.state in ('active', 'blocked')
    and a.expires_at <= clock($1)
) or exists (
  select from florin.hold h where h.merchant = $1 and h.state = 'open' and h.expires_at <= clock($1)
) as due
"""


async def _next_expiry(database: Database, merchant: UUID) -> datetime | None:
    row = await database.one(_NEXT, merchant)
    return row["due"] if row is not None else None


async def _expire_due(job: QueuedJob, merchant: UUID) -> bool:
    async with job.effect() as tx:
        await expire_some(tx, merchant, HOLDS)
        await job.step(tx)
        return bool(await tx.value(_DUE, merchant))


EXPIRY = DueWork(next_due=_next_expiry, run_due=_expire_due)
DELIVERIES = DueWork(next_due=find_next_delivery, run_due=send_what_is_due)
