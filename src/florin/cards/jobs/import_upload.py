"""Import upload: receive a file of cards that were sold elsewhere, store it sealed, and create its
job.

The file is read and stored a thousand rows at a time, in parts that are sealed separately. The job
that refers to them is created last, with its key, in one transaction. An incomplete file, or one
with wrong control totals, leaves only parts without a job; they are deleted.
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
from florin.ledger import quotas
from florin.ledger.refusals import ProgramNotFound

_PROGRAMS = """
select id, currency, pin, min_amount, max_amount, denominations from florin.program
where merchant = $1
"""
PART = LEAST  # rows; a transaction of the job processes whole parts
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
    """What the caller says is in the file; `program` is that of rows without one."""

    count: int | None = None
    amount: int | None = None
    program: str | None = None


class ParsedImport(msgspec.Struct):
    """The result of reading a file so far."""

    parts: int = 0
    count: int = 0
    empty: int = 0  # rows without values: refused, not counted as cards
    amount: int = 0
    refused: int = 0
    errors: list[LineError] = msgspec.field(default_factory=list[LineError])
    gives_codes: bool = False  # the job makes codes or PINs that must be downloaded
    digest: Any = msgspec.field(default_factory=hashlib.sha256)


async def start_import(
    database: Database,
    sealer: Sealer,
    context: RequestContext,
    blocks: AsyncIterator[bytes],
    totals: ControlTotals,
) -> tuple[Job, bool]:
    """Store the file and create its job. Returns the job, and whether its key was used before.

    Raises InvalidRequest, ProgramNotFound, TooLarge, IdempotencyKeyReused, QuotaExceeded.
    """
    job, kept = ids.new_id(), ParsedImport()
    known = False
    try:
        await _keep(database, sealer, context.merchant, job, blocks, totals, kept)
        _check(kept, totals)
        first = await _record(database, context, job, totals, kept)
        known = first == job
    finally:
        if not known and kept.parts:
            await asyncio.shield(asyncio.ensure_future(_drop(database, context.merchant, job)))
    current = await jobs.find_job(database, context.merchant, first)
    as_first = msgspec.structs.replace(
        current,
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
    totals: ControlTotals,
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
    async for records in split_records(_hashed(blocks, kept.digest), splitter, CHUNK):
        if reader is None:
            assert splitter.separator is not None  # there is a first record
            default = _default(programs, totals)
            reader = ImportReader(records[0], splitter.separator, programs, default)
            records = records[1:]  # noqa: PLW2901 -- without the header
        part = await asyncio.to_thread(reader.read, records)
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
    """Seal rows as parts, numbered from `first` on."""
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    return [seal_part(sealer, part, merchant, job, first + n) for n, part in enumerate(parts)]


async def _hashed(blocks: AsyncIterator[bytes], digest: Any) -> AsyncIterator[bytes]:
    async for block in blocks:
        digest.update(block)
        yield block


def _default(programs: dict[UUID, ProgramFacts], totals: ControlTotals) -> UUID | None:
    """Raises ProgramNotFound."""
    if totals.program is None:
        return next(iter(programs)) if len(programs) == 1 else None
    program = ids.parse_id("prg", totals.program)
    if program not in programs:
        raise ProgramNotFound(param="program")
    return program


def _gives_codes(part: ImportPart, programs: dict[UUID, ProgramFacts]) -> bool:
    return any(row.code is None or programs[row.program].pin for row in part.rows)


def _check(kept: ParsedImport, totals: ControlTotals) -> None:
    if kept.count == 0:
        raise InvalidRequest(
            "the file has no cards; give at least one row after the line of column names"
        )
    if totals.count is not None and totals.count != kept.count:
        raise InvalidRequest(f"the file has {kept.count} cards, not {totals.count}", param="count")
    if totals.amount is not None and totals.amount != kept.amount:
        detail = f"the amounts of the file add up to {kept.amount}, not {totals.amount}"
        raise InvalidRequest(detail, param="amount")


async def _record(
    database: Database,
    context: RequestContext,
    job: UUID,
    totals: ControlTotals,
    kept: ParsedImport,
) -> UUID:
    """Create the job unless its key was used before; return the first job of the key."""
    assert context.key is not None
    async with database.transaction() as tx:
        first = await claim_key(
            tx,
            merchant=context.merchant,
            key=context.key,
            operation="import",
            fingerprint=fingerprint("import", totals, kept.digest.hexdigest()),
            noun=job,
        )
        if first == job:
            await quotas.take_job(tx, context.merchant, QUEUE, kept.count)
            await tx.run(
                _JOB,
                context.merchant,
                job,
                kept.count + kept.empty,
                kept.refused,
                msgspec.json.encode(kept.errors).decode(),
                "waiting" if kept.gives_codes else "none",
                context.actor,
                context.location,
            )
            await jobs.enqueue_job(
                tx, queue=QUEUE, kind="import", merchant=context.merchant, job=job
            )
    return first


async def _drop(database: Database, merchant: UUID, job: UUID) -> None:
    """Delete the stored parts. What this misses is deleted a day later (see retention.py)."""
    with contextlib.suppress(*BROKEN, PoolTimeout, asyncpg.PostgresError):
        async with database.connection() as connection:
            await connection.execute(_DROP, merchant, job)


def seal_part(
    sealer: Sealer, rows: list[ImportRow], merchant: UUID, job: UUID, part_number: int
) -> bytes:
    text = msgspec.json.encode(rows).decode()
    return sealer.seal(text, bound_to=part_binding(merchant, job, part_number))


def unseal_part(
    sealer: Sealer, sealed: bytes, merchant: UUID, job: UUID, part_number: int
) -> list[ImportRow]:
    text = sealer.unseal(sealed, bound_to=part_binding(merchant, job, part_number))
    return msgspec.json.decode(text, type=list[ImportRow])


def part_binding(merchant: UUID, job: UUID, part_number: int) -> bytes:
    """What a part is sealed to: at another place, or as a code export, it cannot be unsealed."""
    return b"part" + merchant.bytes + job.bytes + part_number.to_bytes(4, "big")
