"""Bulk issue: issue up to a million cards in a job: exactly as many as requested, even when the job
is interrupted.

The job's row has the count. Every chunk is one transaction: the fence of the lease, the cards with
their entries, the sealed codes, and the count. A chunk that is interrupted before its commit leaves
nothing; a committed chunk is counted. Memory holds two chunks, for any number of cards.
"""

import asyncio
import time
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta

from florin.cards import codes, pins
from florin.cards.jobs import job as jobs
from florin.cards.jobs.job import Job
from florin.cards.jobs.throttle import JobThrottle
from florin.cards.transactions.operations import RequestContext
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http.body import Amount, Request, fingerprint
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.postgres.idempotency import claim_key
from florin.kit.queue.job import Continue, PermanentFailure
from florin.kit.queue.job import QueuedJob as QueueJob
from florin.ledger import quotas
from florin.ledger.issue import Issuance, issue_in
from florin.ledger.refusals import AmountNotAllowed, ProgramNotFound

QUEUE = "bulk"
MOST = 1_000_000
SLICE_S = 5.0  # then another job may run
HEADER = "card,code,amount,currency,expires_at\n"
HEADER_WITH_PIN = "card,code,amount,currency,expires_at,pin\n"
_COLLISIONS_MAX = 3  # a new code collides with a probability of cards / 2^75

_PROGRAM = """
select currency, min_amount, max_amount, denominations from florin.program
where merchant = $1 and id = $2
"""
_JOB = """
select j.program, j.amount, j.total, j.done, j.state, j.actor, j.location, j.activate,
  (select p.pin from florin.program p where p.merchant = j.merchant and p.id = j.program) as pin
from florin.job j where j.merchant = $1 and j.id = $2
"""
_COUNT = """
update florin.job set state = 'running', done = done + $3,
  codes = case codes when 'taken' then 'waiting' else codes end where merchant = $1 and id = $2
"""


class BulkRequest(Request, kw_only=True):
    """Issue `quantity` cards of `amount` each; with `activate` false they are pending, such as
    printed cards that are not sold yet.
    """

    program: str
    amount: Amount
    quantity: Annotated[int, Meta(ge=1, le=MOST)]
    activate: bool | msgspec.UnsetType = msgspec.UNSET


async def start_bulk_issue(
    database: Database, context: RequestContext, request: BulkRequest
) -> tuple[Job, bool]:
    """Create the job and enqueue it. Returns the job, and whether its key was used before.

    Raises ProgramNotFound, AmountNotAllowed, IdempotencyKeyReused, QuotaExceeded.
    """
    program = ids.parse_id("prg", request.program)
    if program is None:
        raise ProgramNotFound(param="program")
    if context.key is None:
        raise InvalidRequest("Idempotency-Key is required", param="Idempotency-Key")
    job = ids.new_id()
    async with database.transaction() as tx:
        first = await claim_key(
            tx,
            merchant=context.merchant,
            key=context.key,
            operation="bulk",
            fingerprint=fingerprint("bulk", request),
            noun=job,
        )
        if first == job:
            await _check(tx, context.merchant, program, request.amount)
            await quotas.take_job(tx, context.merchant, QUEUE, request.quantity)
            await tx.run(
                "insert into florin.job"
                " (merchant, id, kind, program, amount, total, actor, location, activate,"
                " amounts_accepted) values ($1, $2, 'bulk', $3, $4, $5, $6, $7, $8, true)",
                context.merchant,
                job,
                program,
                request.amount,
                request.quantity,
                context.actor,
                context.location,
                request.activate is not False,
            )
            await jobs.enqueue_job(
                tx, queue=QUEUE, kind="issue", merchant=context.merchant, job=job
            )
    current = await jobs.find_job(database, context.merchant, first)
    return jobs.job_as_created(current, codes="waiting"), first != job


async def _check(tx: Tx, merchant: UUID, program: UUID, amount: int) -> None:
    row = await tx.one(_PROGRAM, merchant, program)
    if row is None:
        raise ProgramNotFound(param="program")
    allowed = row["denominations"] or [amount]
    if not row["min_amount"] <= amount <= row["max_amount"] or amount not in allowed:
        raise AmountNotAllowed(param="amount")


class Chunk(msgspec.Struct, kw_only=True):
    """The cards of one transaction, from the job's card number `first` on."""

    first: int
    issuances: list[Issuance]
    codes: list[str]
    pins: list[str]  # empty strings when the program has no PINs


class BulkIssuer:
    """Runs bulk issue jobs."""

    def __init__(self, database: Database, pepper: str, sealer: Sealer) -> None:
        self._database = database
        self._pepper = pepper.encode()
        self._sealer = sealer

    async def issue(self, job: QueueJob) -> Continue | None:
        """Issue cards of a job for up to SLICE_S seconds."""
        merchant, uuid, row = await jobs.read_enqueued_job(self._database, _JOB, job.payload)
        pace = JobThrottle(self._database, job.queue)
        await pace.begin()
        chunk = self.prepare(merchant, row, row["done"], pace.size)
        until = time.monotonic() + SLICE_S
        collisions = 0
        while chunk.codes:
            if time.monotonic() > until or job.stopping:
                return Continue()
            started = time.monotonic()
            following = chunk.first + len(chunk.codes)
            try:
                # The codes of the next chunk are made while the database commits this one.
                whole, chunk_after = await asyncio.gather(
                    self._commit_chunk(job, merchant, uuid, chunk),
                    asyncio.to_thread(self.prepare, merchant, row, following, pace.size),
                )
            except asyncpg.UniqueViolationError:
                collisions += 1
                if collisions == _COLLISIONS_MAX:
                    raise
                chunk = self.prepare(merchant, row, chunk.first, pace.size)
                continue
            except Refusal as refusal:  # a retry would not help
                raise PermanentFailure(f"{refusal.code}: {refusal.detail}") from refusal
            chunk = chunk_after
            if whole:
                return None
            if chunk.codes:
                await pace.rest_after(time.monotonic() - started)
        return None

    def prepare(self, merchant: UUID, row: Row, first: int, most: int) -> Chunk:
        """Make the codes of the job's next cards; none when all cards are issued."""
        drawn = [codes.make_code() for _ in range(min(most, row["total"] - first))]
        cards = [ids.new_id() for _ in drawn]
        drawn_pins = [pins.make_pin() if row["pin"] else "" for _ in drawn]
        return Chunk(
            first=first,
            codes=drawn,
            pins=drawn_pins,
            issuances=[
                Issuance(
                    id=card,
                    merchant=merchant,
                    program=row["program"],
                    amount=row["amount"],
                    code=codes.code_hash(self._pepper, merchant, code),
                    pin=pins.pin_hash(self._pepper, merchant, card, pin) if pin else None,
                    last4=code[-4:],
                    sealed=None,
                    actor=row["actor"],
                    location=row["location"],
                    activate=row["activate"],
                )
                for card, code, pin in zip(cards, drawn, drawn_pins, strict=True)
            ],
        )

    async def _commit_chunk(self, job: QueueJob, merchant: UUID, uuid: UUID, chunk: Chunk) -> bool:
        """Issue the cards of a chunk. Returns whether the job has ended: it may be cancelled."""
        number = len(chunk.codes)
        async with job.effect() as tx:
            row = await tx.one(f"{_JOB} for no key update", merchant, uuid)
            if row is not None and row["state"] == "finished":
                return True
            if row is None or row["done"] != chunk.first:
                raise RuntimeError(f"another worker continued job {ids.show_id('job', uuid)}")
            first = await issue_in(tx, chunk.issuances, job=uuid)
            expires = first.expires_at.isoformat() if first.expires_at else ""
            lines = "".join(
                f"{ids.show_id('crd', each.id)},{codes.show_code(code)}"
                f",{each.amount},{first.currency},"
                f"{expires}{',' if pin else ''}{pin}\n"
                for each, code, pin in zip(chunk.issuances, chunk.codes, chunk.pins, strict=True)
            )
            await tx.run(
                "insert into florin.job_code_export (merchant, job, part_number, sealed)"
                " values ($1, $2, $3, $4)",
                merchant,
                uuid,
                chunk.first,
                self._sealer.seal(lines, bound_to=code_export_binding(merchant, uuid, chunk.first)),
            )
            await tx.run(_COUNT, merchant, uuid, number)
            await job.step(tx)
            whole = chunk.first + number == row["total"]
            if whole:
                await tx.value("select finish_job($1, $2, $3)", merchant, uuid, ids.new_id())
        return bool(whole)


def code_export_binding(merchant: UUID, job: UUID, nth: int) -> bytes:
    """What sealed codes are bound to: copied to another job or number they cannot be unsealed."""
    return merchant.bytes + job.bytes + nth.to_bytes(4, "big")
