"""Import upload: take a file of cards that were sold elsewhere, keep it sealed, and ask for its
job.

What arrives is read and kept a thousand lines at a time, in parts each sealed on its own; the job
that makes them known comes last, with its key, in one transaction. A file that is cut off, or whose
control totals are wrong, leaves nothing but parts that nobody names; they are deleted.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Generator
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import MOST, QUEUE
from florin.cards.jobs.csv_records import RecordSplitter, split_records
from florin.cards.jobs.import_parser import (
    CHUNK,
    COLUMNS,
    ImportPart,
    ImportReader,
    ImportRow,
    ProgramFacts,
)
from florin.cards.jobs.job import ERRORS_MAX, Job, LineError
from florin.cards.jobs.throttle import LEAST
from florin.cards.request_context import RequestContext
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import InvalidRequest, RateLimited, TooLarge
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout
from florin.kit.postgres.idempotency import claim_key
from florin.kit.queue import enqueue
from florin.ledger import quotas
from florin.ledger.refusals import ProgramNotFound

_PROGRAMS = """
select id, currency, pin, min_amount, max_amount, denominations from florin.program
where merchant = $1
"""
PART = LEAST  # lines; what is booked together is whole parts
_KEEP = """
insert into florin.job_part (merchant, job, part_number, sealed)
select $1, $2, $3::integer + n - 1, sealed from unnest($4::bytea[]) with ordinality s (sealed, n)
"""
_DROP = "delete from florin.job_part where merchant = $1 and job = $2"
_JOB = """
insert into florin.job (merchant, id, kind, total, done, refused, errors, codes, actor,
  location, amounts_accepted)
values ($1, $2, 'import', $3, $4, $4, $5::text::jsonb, $6, $7, $8, true)
"""


UPLOADS_MAX = 4  # files that one merchant sends to an instance at a time
_uploads: Counter[UUID] = Counter()


@contextlib.contextmanager
def upload_slot(merchant: UUID) -> Generator[None]:
    """Count a file while it arrives: each takes disk before its job is counted by a quota. Raises
    RateLimited.
    """
    if _uploads[merchant] >= UPLOADS_MAX:
        detail = f"this merchant sends {UPLOADS_MAX} files already; send them one after the other"
        raise RateLimited(detail, retry_after_s=5)
    _uploads[merchant] += 1
    try:
        yield
    finally:
        _uploads.subtract([merchant])
        if not _uploads[merchant]:
            del _uploads[merchant]


class ControlTotals(msgspec.Struct, kw_only=True, frozen=True):
    """What the sender says is in the file; `program` is that of lines that name none."""

    count: int | None = None
    amount: int | None = None
    program: str | None = None


class ParsedImport(msgspec.Struct):
    """What was read of a file so far, and is kept."""

    parts: int = 0
    count: int = 0
    empty: int = 0  # rows without values: refused, and no cards
    amount: int = 0
    refused: int = 0
    errors: list[LineError] = msgspec.field(default_factory=list[LineError])
    gives_codes: bool = False  # codes or PINs that its sender does not know
    digest: Any = msgspec.field(default_factory=hashlib.sha256)


async def start_import(
    database: Database,
    sealer: Sealer,
    asked: RequestContext,
    blocks: AsyncIterator[bytes],
    said: ControlTotals,
) -> tuple[Job, bool]:
    """Take a job on; the second value says whether it was taken on before, under the same key.

    Raises InvalidRequest, ProgramNotFound, TooLarge, IdempotencyKeyReused, QuotaExceeded.
    """
    job, kept = ids.new_id(), ParsedImport()
    known = False
    try:
        await _keep(database, sealer, asked.merchant, job, blocks, said, kept)
        _check(kept, said)
        first = await _record(database, asked, job, said, kept)
        known = first == job
    finally:
        if not known and kept.parts:
            await asyncio.shield(asyncio.ensure_future(_drop(database, asked.merchant, job)))
    found = await jobs.find_job(database, asked.merchant, first)
    as_first = msgspec.structs.replace(
        found,
        state="queued",
        done=0,
        refused=kept.refused,
        codes="waiting" if kept.gives_codes else "none",
        errors=kept.errors,
        finished_at=None,
    )
    return as_first, not known


async def _keep(
    database: Database,
    sealer: Sealer,
    merchant: UUID,
    job: UUID,
    blocks: AsyncIterator[bytes],
    said: ControlTotals,
    kept: ParsedImport,
) -> None:
    programs = {
        row["id"]: ProgramFacts(
            row["currency"],
            row["pin"],
            row["min_amount"],
            row["max_amount"],
            tuple(row["denominations"] or ()),
        )
        for row in await database.all(_PROGRAMS, merchant)
    }
    reader: ImportReader | None = None
    splitter = RecordSplitter(COLUMNS)
    async for these in split_records(_hashed(blocks, kept.digest), splitter, CHUNK):
        if reader is None:
            assert splitter.separator is not None  # there is a first record
            default = _default(programs, said)
            reader = ImportReader(these[0], splitter.separator, programs, default)
            these = these[1:]  # noqa: PLW2901 -- the head is none of them
        part = await asyncio.to_thread(reader.read, these)
        kept.count += part.count
        kept.amount += part.amount
        kept.empty += part.empty
        if kept.count + kept.empty > MOST:
            raise TooLarge(f"a file has at most {MOST} rows")
        kept.refused += len(part.errors)
        kept.errors += part.errors[: max(0, ERRORS_MAX - len(kept.errors))]
        if part.rows:
            kept.gives_codes = kept.gives_codes or _gives_codes(part, programs)
            parts = await asyncio.to_thread(_sealed, sealer, part.rows, merchant, job, kept.parts)
            async with database.connection() as connection:
                await connection.execute(_KEEP, merchant, job, kept.parts, parts)
            kept.parts += len(parts)


def _sealed(
    sealer: Sealer, rows: list[ImportRow], merchant: UUID, job: UUID, first: int
) -> list[bytes]:
    """The parts of these rows; the first one's number is `first`."""
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    return [seal_part(sealer, part, merchant, job, first + n) for n, part in enumerate(parts)]


async def _hashed(blocks: AsyncIterator[bytes], digest: Any) -> AsyncIterator[bytes]:
    async for block in blocks:
        digest.update(block)
        yield block


def _default(programs: dict[UUID, ProgramFacts], said: ControlTotals) -> UUID | None:
    """Raises ProgramNotFound."""
    if said.program is None:
        return next(iter(programs)) if len(programs) == 1 else None
    program = ids.parse_id("prg", said.program)
    if program not in programs:
        raise ProgramNotFound(param="program")
    return program


def _gives_codes(part: ImportPart, programs: dict[UUID, ProgramFacts]) -> bool:
    return any(row.code is None or programs[row.program].pin for row in part.rows)


def _check(kept: ParsedImport, said: ControlTotals) -> None:
    if kept.count == 0:
        raise InvalidRequest("there is no card in the file")
    if said.count is not None and said.count != kept.count:
        raise InvalidRequest(f"the file has {kept.count} cards, not {said.count}", param="count")
    if said.amount is not None and said.amount != kept.amount:
        detail = f"the amounts of the file add up to {kept.amount}, not {said.amount}"
        raise InvalidRequest(detail, param="amount")


async def _record(
    database: Database, asked: RequestContext, job: UUID, said: ControlTotals, kept: ParsedImport
) -> UUID:
    """Make the job known, once; return the first job of its key."""
    assert asked.key is not None
    async with database.transaction() as tx:
        first = await claim_key(
            tx,
            merchant=asked.merchant,
            key=asked.key,
            operation="import",
            fingerprint=fingerprint("import", said, kept.digest.hexdigest()),
            noun=job,
        )
        if first == job:
            await quotas.take_job(tx, asked.merchant, QUEUE, kept.count)
            await tx.run(
                _JOB,
                asked.merchant,
                job,
                kept.count + kept.empty,
                kept.refused,
                msgspec.json.encode(kept.errors).decode(),
                "waiting" if kept.gives_codes else "none",
                asked.actor,
                asked.location,
            )
            await enqueue.enqueue(
                tx,
                enqueue.NewJob(
                    queue=QUEUE,
                    kind="import",
                    payload={"merchant": str(asked.merchant), "job": str(job)},
                    dedupe=jobs.job_dedupe_key(job),
                ),
            )
    return first


async def _drop(database: Database, merchant: UUID, job: UUID) -> None:
    """What is left all the same is deleted a day later (see retention.py)."""
    with contextlib.suppress(*BROKEN, PoolTimeout, asyncpg.PostgresError):
        async with database.connection() as connection:
            await connection.execute(_DROP, merchant, job)


def seal_part(sealer: Sealer, rows: list[ImportRow], merchant: UUID, job: UUID, nth: int) -> bytes:
    text = msgspec.json.encode(rows).decode()
    return sealer.seal(text, bound_to=part_binding(merchant, job, nth))


def unseal_part(
    sealer: Sealer, sealed: bytes, merchant: UUID, job: UUID, nth: int
) -> list[ImportRow]:
    text = sealer.unseal(sealed, bound_to=part_binding(merchant, job, nth))
    return msgspec.json.decode(text, type=list[ImportRow])


def part_binding(merchant: UUID, job: UUID, nth: int) -> bytes:
    """What a part is sealed to: moved elsewhere, or in a sheet's place, it does not open."""
    return b"part" + merchant.bytes + job.bytes + nth.to_bytes(4, "big")
