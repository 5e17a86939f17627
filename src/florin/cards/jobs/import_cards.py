"""Import cards: issue the cards of an imported file, each exactly once, even when the job is
interrupted.

Some parts of the file are one transaction: the fence of the lease, the cards with their entries,
the sealed codes and PINs that the merchant must download, the count, the refused rows, and the
deletion of the parts. A transaction that is interrupted before its commit leaves nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from florin.cards import codes, pins
from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import SLICE_S, code_export_binding
from florin.cards.jobs.import_parser import ImportRow
from florin.cards.jobs.import_upload import PART, unseal_part
from florin.cards.jobs.job import ERRORS_MAX, LineError
from florin.cards.jobs.throttle import JobThrottle
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.database import Row as Record
from florin.kit.queue.job import Continue
from florin.kit.queue.job import QueuedJob as QueueJob
from florin.ledger.issue import FirstAnswer, Issuance, issue_each_in
from florin.ledger.post import Posting, post_in
from florin.ledger.refusals import BY_OUTCOME

_COLLISIONS_MAX = 3  # of a new code, or of one that another import uses at the same time
_TAKEN = "another card has this code"

_JOB = """
select actor, location, state, done, total from florin.job where merchant = $1 and id = $2
"""
_PARTS = """
select part_number, sealed from florin.job_part where merchant = $1 and job = $2
order by part_number limit $3
"""
_END = """
delete from florin.job_part where merchant = $1 and job = $2 and part_number = any ($3)
returning part_number
"""
_PINS = "select id, pin from florin.program where merchant = $1 and id = any ($2)"
_FOUND = "select code_hash from florin.account where merchant = $1 and code_hash = any ($2)"
_SHEET = """
insert into florin.job_code_export (merchant, job, part_number, sealed) values ($1, $2, $3, $4)
"""
_COUNT = f"""
update florin.job set state = 'running', done = done + $3, refused = refused + $4,
  codes = case codes when 'taken' then 'waiting' else codes end,
  errors = case when jsonb_array_length(errors) < {ERRORS_MAX} then errors || $5::text::jsonb
    else errors end
where merchant = $1 and id = $2 returning done = total as whole
"""  # noqa: S608 -- a number of ours


class PreparedRow(msgspec.Struct):
    """A row with everything that its card gets."""

    row: ImportRow
    code: str
    pin: str  # empty if its program has no PINs
    issuance: Issuance
    hashes: list[bytes]  # of its code, under each secret that may have keyed the code of a card


class CardImporter:
    """Runs import jobs."""

    def __init__(self, database: Database, peppers: Sequence[str], sealer: Sealer) -> None:
        self._database = database
        self._peppers = [pepper.encode() for pepper in peppers]
        self._sealer = sealer

    async def run(self, job: QueueJob) -> Continue | None:
        """Issue cards of a job for up to SLICE_S seconds."""
        merchant, uuid, row = await jobs.read_enqueued_job(self._database, _JOB, job.payload)
        pace = JobThrottle(self._database, job.queue)
        await pace.begin()
        until, collisions = time.monotonic() + SLICE_S, 0
        while True:
            number = max(1, pace.size // PART)
            parts = await self._database.all(_PARTS, merchant, uuid, number)
            if not parts:
                await self._finish(job, merchant, uuid)
                return None
            if time.monotonic() > until or job.stopping:
                return Continue()
            started = time.monotonic()
            rows = await asyncio.to_thread(self._unseal, merchant, uuid, parts)
            with_pin = await self._with_pin(merchant, rows)
            drawn = await asyncio.to_thread(self._draw, merchant, row, rows, with_pin)
            try:
                numbers = [part["part_number"] for part in parts]
                if await self._commit_parts(job, merchant, uuid, numbers, drawn):
                    return None
            except asyncpg.UniqueViolationError:
                collisions += 1
                if collisions == _COLLISIONS_MAX:
                    raise
            await pace.rest_after(time.monotonic() - started)

    def _unseal(self, merchant: UUID, job: UUID, parts: Sequence[Record]) -> list[ImportRow]:
        unsealed = [
            unseal_part(self._sealer, part["sealed"], merchant, job, part["part_number"])
            for part in parts
        ]
        return [row for rows in unsealed for row in rows]

    async def _with_pin(self, merchant: UUID, rows: list[ImportRow]) -> set[UUID]:
        programs = list({row.program for row in rows})
        records = await self._database.all(_PINS, merchant, programs)
        return {each["id"] for each in records if each["pin"]}

    def _draw(
        self, merchant: UUID, job: Record, rows: list[ImportRow], with_pin: set[UUID]
    ) -> list[PreparedRow]:
        return [self._draw_one(merchant, job, row, row.program in with_pin) for row in rows]

    def _draw_one(self, merchant: UUID, job: Record, row: ImportRow, has_pin: bool) -> PreparedRow:
        code, card = row.code or codes.make_code(), ids.new_id()
        pin = row.pin or (pins.make_pin() if has_pin else "")
        hashes = [codes.code_hash(pepper, merchant, code) for pepper in self._peppers]
        issuance = Issuance(
            id=card,
            merchant=merchant,
            program=row.program,
            amount=row.amount,
            code=hashes[0],
            pin=pins.pin_hash(self._peppers[0], merchant, card, pin) if pin else None,
            pin_wanted=row.pin is not None,
            last4=code[-4:],
            sealed=None,
            actor=job["actor"],
            location=job["location"],
            recipient_name=row.name,
            recipient_email=row.email,
            activate=row.state != "pending",
            metadata=json_text(row.metadata) if row.metadata else None,
            expires_at=row.expires_at,
        )
        return PreparedRow(row, code, pin, issuance, hashes)

    async def _commit_parts(
        self, job: QueueJob, merchant: UUID, uuid: UUID, parts: list[int], drawn: list[PreparedRow]
    ) -> bool:
        """Issue the cards of some parts. Returns whether they were the last."""
        async with job.effect() as tx:
            row = await tx.one(f"{_JOB} for no key update", merchant, uuid)
            if row is not None and row["state"] == "finished":
                return True  # it was cancelled
            if len(await tx.all(_END, merchant, uuid, parts)) < len(parts):
                raise RuntimeError(f"another worker continued job {ids.show_id('job', uuid)}")
            fresh, errors = await _split_known_codes(tx, merchant, drawn)
            lines: list[str] = []
            rows = await issue_each_in(tx, [each.issuance for each in fresh], job=uuid)
            await _block(tx, [each.issuance for each in fresh if each.row.state == "blocked"])
            for each, row in zip(fresh, rows, strict=True):
                if row["outcome"] != "ok":
                    errors.append(_error(each.row, BY_OUTCOME[row["outcome"]].title()))
                elif each.row.code is None or (each.pin and each.row.pin is None):
                    lines.append(_line(each, msgspec.json.decode(row["answer"], type=FirstAnswer)))
            if lines:
                bound = code_export_binding(merchant, uuid, parts[0])
                sealed = self._sealer.seal("".join(lines), bound_to=bound)
                await tx.run(_SHEET, merchant, uuid, parts[0], sealed)
            errors.sort(key=lambda error: error.line or 0)
            encoded = msgspec.json.encode(errors[:ERRORS_MAX]).decode()
            whole = await tx.value(_COUNT, merchant, uuid, len(drawn), len(errors), encoded)
            await job.step(tx)
            if whole:
                await tx.value("select finish_job($1, $2, $3)", merchant, uuid, ids.new_id())
        return bool(whole)

    async def _finish(self, job: QueueJob, merchant: UUID, uuid: UUID) -> None:
        """Finish a job whose file has no valid row; any other is finished with its last part."""
        async with job.effect() as tx:
            await tx.value("select finish_job($1, $2, $3)", merchant, uuid, ids.new_id())


async def _block(tx: Tx, issuances: list[Issuance]) -> None:
    """Block the cards that were blocked in the other system. No one else knows them yet."""
    if issuances:
        postings = [
            Posting(
                merchant=each.merchant,
                op="block",
                actor=each.actor,
                card=each.id,
                location=each.location,
            )
            for each in issuances
        ]
        await post_in(tx, postings)


async def _split_known_codes(
    tx: Tx, merchant: UUID, drawn: list[PreparedRow]
) -> tuple[list[PreparedRow], list[LineError]]:
    """Split rows into those whose code no card has yet, and the errors of the others."""
    given = [hashed for each in drawn if each.row.code for hashed in each.hashes]
    taken: set[bytes] = set()
    if given:
        taken = {row["code_hash"] for row in await tx.all(_FOUND, merchant, given)}
    fresh, errors = list[PreparedRow](), list[LineError]()
    for each in drawn:
        if taken.isdisjoint(each.hashes):
            fresh.append(each)
            taken.update(each.hashes)
        else:
            errors.append(_error(each.row, f"code: {_TAKEN}"))
    return fresh, errors


def _error(row: ImportRow, detail: str) -> LineError:
    return LineError(line=row.line, detail=detail)


def _line(each: PreparedRow, first: FirstAnswer) -> str:
    expires = first.expires_at.isoformat() if first.expires_at else ""
    return (
        f"{ids.show_id('crd', each.issuance.id)},{codes.show_code(each.code)},{each.row.amount},"
        f"{first.currency},{expires},{each.pin}\n"
    )
