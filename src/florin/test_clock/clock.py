"""Clock: the time of a test merchant, and the request to move it."""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from florin.cards.jobs import job as jobs
from florin.cards.jobs.job import Job
from florin.identity.audit_log import AuditActor, record_audit
from florin.kit import ids
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http.body import Instant, Request, fingerprint
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.idempotency import claim_key
from florin.ledger import quotas

QUEUE = "bulk"
ADVANCE_MAX = timedelta(days=5 * 366)


class NotTestMerchant(Refusal):
    """Only a test merchant has a clock that can be moved."""

    code = "not_test_merchant"
    status = 409


class ClockMoving(Refusal):
    """The clock is being moved; wait for its job to finish."""

    code = "clock_moving"
    status = 409


class AdvanceRequest(Request, kw_only=True):
    """Move the clock to this instant, at most five years ahead; it never goes back."""

    to: Instant


class TestClock(msgspec.Struct, kw_only=True):
    """The time of a test merchant. `state`: moving while a job advances it."""

    __test__ = False  # no test of pytest

    object: Literal["test_clock"] = "test_clock"
    now: datetime
    state: Literal["running", "moving"]
    job: str | None


_READ = """
select m.test, clock(m.id) as now, (
  select j.id from florin.job j where j.merchant = m.id and j.advance_to is not null
    and j.state <> 'finished' order by j.id desc limit 1
) as job
from florin.merchant m where m.id = $1
"""
_INSERT = """
insert into florin.job (merchant, id, kind, total, actor, codes, advance_to)
values ($1, $2, 'bulk', 1, $3, 'none', $4)
"""


async def read_test_clock(database: Database, merchant: UUID) -> TestClock:
    """Raises NotTestMerchant."""
    row = await database.one(_READ, merchant)
    if row is None or not row["test"]:
        raise NotTestMerchant
    return TestClock(
        now=row["now"],
        state="moving" if row["job"] else "running",
        job=ids.show_id("job", row["job"]) if row["job"] else None,
    )


async def start_advance(
    database: Database, by: AuditActor, request: AdvanceRequest, *, key: str | None
) -> tuple[Job, bool]:
    """Create the job that moves the clock; return it, and whether its key was used before.

    Raises NotTestMerchant, ClockMoving, InvalidRequest, IdempotencyKeyReused, QuotaExceeded.
    """
    job = first = ids.new_id()
    async with database.transaction() as tx:
        if key is not None:
            first = await claim_key(
                tx,
                merchant=by.merchant,
                key=key,
                operation="advance-test-clock",
                fingerprint=fingerprint("advance-test-clock", request),
                noun=job,
            )
        if first == job:
            await _create_job(tx, by, job, request.to)
    return await jobs.find_job(database, by.merchant, first), first != job


async def _create_job(tx: Tx, by: AuditActor, job: UUID, to: datetime) -> None:
    # Locks the merchant: of two requests the second sees the job of the first.
    await quotas.take_job(tx, by.merchant, QUEUE, 0)
    row = await tx.one(_READ, by.merchant)
    if row is None or not row["test"]:
        raise NotTestMerchant
    if row["job"] is not None:
        raise ClockMoving(extra={"job": ids.show_id("job", row["job"])})
    now = row["now"]
    if not now < to <= now + ADVANCE_MAX:
        limit = (now + ADVANCE_MAX).isoformat(timespec="seconds")
        raise InvalidRequest(
            f"to must be after the clock's time, {now.isoformat(timespec='seconds')}, and at most"
            f" five years ahead, {limit}",
            param="to",
        )
    await tx.run(_INSERT, by.merchant, job, by.actor, to)
    await jobs.enqueue_job(tx, queue=QUEUE, kind="advance", merchant=by.merchant, job=job)
    await record_audit(
        tx,
        by,
        "test_clock.advanced",
        ids.show_id("job", job),
        before={"now": now.isoformat()},
        after={"to": to.isoformat()},
    )
