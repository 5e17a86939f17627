"""Batch change: activate, block, extend or close every card of a job, and stop a job.

A change is a job of its own. Every chunk is one transaction: the fence of the lease, the postings,
the count, and the place in the list of cards. An interrupted chunk leaves nothing; a committed one
is not repeated. What a card refuses is counted and listed; the others are changed.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.cards.card_changes import extension
from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import QUEUE, SLICE_S
from florin.cards.jobs.code_export import JobNotFinished
from florin.cards.jobs.job import ERRORS_MAX, Job, LineError
from florin.cards.jobs.throttle import JobThrottle
from florin.cards.request_context import RequestContext
from florin.cards.requests import ExtendRequest
from florin.kit import ids
from florin.kit.errors import InvalidRequest, NotFound
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import Database, Row
from florin.kit.postgres.idempotency import claim_key
from florin.kit.queue.job import Continue
from florin.kit.queue.job import QueuedJob as QueueJob
from florin.kit.timestamps import in_utc
from florin.ledger import quotas
from florin.ledger.post import Posting, post_in
from florin.ledger.refusals import BY_OUTCOME

BatchChange = Literal["activate", "block", "extend", "close"]

_BUSY_MOST = 200  # times in a row that a card is locked by requests
_BUSY_PAUSE_S = 0.05
_FIRST_AT, _FIRST_CARD = datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)

_BATCH = """
select j.kind, j.program, j.state, j.change, j.advance_to,
  (select count(*) from florin.card c where c.merchant = j.merchant and c.job = j.id) as cards
from florin.job j where j.merchant = $1 and j.id = $2
"""
_INSERT = """
insert into florin.job (merchant, id, kind, total, actor, location, codes, change, cards_of, until,
  reason)
values ($1, $2, $3, $4, $5, $6, 'none', $7, $8, $9, $10)
"""
_JOB = """
select change, cards_of, until, reason, actor, location, state, done, total, last_at, last_card
from florin.job where merchant = $1 and id = $2
"""
_CARDS = """
select c.id, c.issued_at from florin.card c
where c.merchant = $1 and c.job = $2 and (c.issued_at, c.id) > ($3, $4)
order by c.issued_at, c.id limit $5
"""
_COUNT = f"""
update florin.job set state = 'running', done = done + $3, refused = refused + $4,
  last_at = $5, last_card = $6,
  errors = case when jsonb_array_length(errors) < {ERRORS_MAX} then errors || $7::text::jsonb
    else errors end
where merchant = $1 and id = $2 returning done = total as whole
"""  # noqa: S608 -- a number of ours
_CANCEL = """
update florin.job set cancelled = total - done, done = total, codes = case
  when codes = 'waiting' and done = refused then 'none' else codes end
where merchant = $1 and id = $2 and state <> 'finished' and advance_to is null returning id
"""
_DROP_PARTS = "delete from florin.job_part where merchant = $1 and job = $2"


class _CardsBusy(Exception):
    """A card of the chunk is locked by a request: nothing was changed."""


async def start_batch_change(
    database: Database,
    context: RequestContext,
    change: BatchChange,
    batch: UUID,
    extend: ExtendRequest | None = None,
) -> tuple[Job, bool]:
    """Create the job and enqueue it. Returns the job, and whether its key was used before.

    Raises NotFound, JobNotFinished, InvalidRequest, IdempotencyKeyReused, QuotaExceeded.
    """
    until = extend and in_utc(extend.expires_at, param="expires_at")
    job = first = ids.new_id()
    async with database.transaction() as tx:
        if context.key is not None:
            first = await claim_key(
                tx,
                merchant=context.merchant,
                key=context.key,
                operation=f"batch-{change}",
                fingerprint=fingerprint(f"batch-{change}", batch.hex, extend),
                noun=job,
            )
        if first == job:
            row = await tx.one(_BATCH, context.merchant, batch)
            _check_batch(row)
            assert row is not None
            await quotas.take_job(tx, context.merchant, QUEUE, 0)
            await tx.run(
                _INSERT,
                context.merchant,
                job,
                row["kind"],
                row["cards"],
                context.actor,
                context.location,
                change,
                batch,
                until,
                extend and extend.reason,
            )
            await jobs.enqueue_job(
                tx, queue=QUEUE, kind="change", merchant=context.merchant, job=job
            )
    current = await jobs.find_job(database, context.merchant, first)
    if first == job:
        return current, False
    return jobs.job_as_created(current, codes="none"), True


def _check_batch(row: Row | None) -> None:
    """Raises NotFound, JobNotFinished, InvalidRequest."""
    if row is None:
        raise NotFound
    if row["advance_to"] is not None:
        raise InvalidRequest("this job moves the test clock and issued no cards", param="job")
    if row["change"] is not None:
        raise InvalidRequest("this job changes cards; give the job that issued them", param="job")
    if row["state"] != "finished":
        raise JobNotFinished
    if row["cards"] == 0:
        raise InvalidRequest("this job has issued no cards", param="job")


async def cancel_job(database: Database, merchant: UUID, job: UUID) -> Job:
    """Stop what a job has not begun: its cards stay, and it is finished. A finished job is returned
    unchanged. Raises NotFound, and InvalidRequest for a job that moves the test clock: stopped half
    way, it would leave the clock marked as moving.
    """
    async with database.transaction() as tx:
        # A running chunk holds the row of the job: it is counted first, or finds the job finished.
        if await tx.value(_CANCEL, merchant, job) is not None:
            await tx.run(_DROP_PARTS, merchant, job)
            await tx.value("select finish_job($1, $2, $3)", merchant, job, ids.new_id())
    current = await jobs.find_job(database, merchant, job)
    if current.kind == "advance":
        detail = "a job that moves the test clock cannot be stopped; wait until it is finished"
        raise InvalidRequest(detail, param="job")
    return current


class BatchChanger:
    """Runs the jobs that change the cards of a batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, job: QueueJob) -> Continue | None:
        """Change cards of a job for up to SLICE_S seconds."""
        merchant, uuid, _ = await jobs.read_enqueued_job(self._database, _JOB, job.payload)
        pace = JobThrottle(self._database, job.queue)
        await pace.begin()
        until, busy = time.monotonic() + SLICE_S, 0
        while time.monotonic() < until and not job.stopping:
            started = time.monotonic()
            try:
                if await self._change_chunk(job, merchant, uuid, max(1, pace.size >> busy)):
                    return None
            except _CardsBusy:
                busy += 1
                if busy == _BUSY_MOST:
                    raise
                await asyncio.sleep(_BUSY_PAUSE_S)
                continue
            busy = 0
            await pace.rest_after(time.monotonic() - started)
        return Continue()

    async def _change_chunk(self, job: QueueJob, merchant: UUID, uuid: UUID, most: int) -> bool:
        """Change the next cards. Returns whether they were the last, or the job was cancelled."""
        async with job.effect() as tx:
            row = await tx.one(f"{_JOB} for no key update", merchant, uuid)
            assert row is not None
            if row["state"] == "finished":
                return True
            after = (row["last_at"] or _FIRST_AT, row["last_card"] or _FIRST_CARD)
            cards = await tx.all(_CARDS, merchant, row["cards_of"], *after, most)
            outcomes = await post_in(tx, [_posting(merchant, row, each["id"]) for each in cards])
            if "busy" in outcomes:
                raise _CardsBusy
            errors = [
                LineError(
                    line=None,
                    detail=f"{ids.show_id('crd', card['id'])}: {BY_OUTCOME[outcome].title()}",
                )
                for card, outcome in zip(cards, outcomes, strict=True)
                if outcome != "ok"
            ]
            encoded = msgspec.json.encode(errors[:ERRORS_MAX]).decode()
            last = cards[-1]
            whole = await tx.value(
                _COUNT,
                merchant,
                uuid,
                len(cards),
                len(errors),
                last["issued_at"],
                last["id"],
                encoded,
            )
            await job.step(tx)
            if whole:
                await tx.value("select finish_job($1, $2, $3)", merchant, uuid, ids.new_id())
        return bool(whole)


def _posting(merchant: UUID, row: Row, card: UUID) -> Posting:
    if row["change"] == "extend":
        posting = extension(merchant, card, row["until"], row["reason"], actor=row["actor"])
        posting.location = row["location"]
        return posting
    return Posting(
        merchant=merchant,
        op=row["change"],
        actor=row["actor"],
        card=card,
        location=row["location"],
    )
