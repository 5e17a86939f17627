"""Import upload: receive a file of cards that were sold elsewhere, store it sealed, and create its
job.

The file is read and stored a thousand rows at a time, in parts that are sealed separately. The job
that refers to them is created last, with its key, in one transaction. An incomplete file, or one
with wrong control totals, leaves only parts without a job; they are deleted.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import MOST, QUEUE
from florin.cards.jobs.csv_records import RecordSplitter, split_records, to_utf8
from florin.cards.jobs.import_columns import KnownColumns, read_columns
from florin.cards.jobs.import_file import ControlTotals, FileFormat, ParsedImport
from florin.cards.jobs.import_parser import (
    CHUNK,
    ImportOptions,
    ImportPart,
    ImportReader,
    ImportRow,
    ProgramFacts,
)
from florin.cards.jobs.job import Job
from florin.cards.jobs.throttle import LEAST
from florin.cards.request_context import RequestContext
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import RateLimited, TooLarge
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import BROKEN, Database, PoolTimeout
from florin.kit.postgres.idempotency import claim_key
from florin.ledger import quotas
from florin.ledger.refusals import ProgramNotFound

_PROGRAMS = """
select id, currency, pin, min_amount, max_amount, denominations, imported_codes,
  expires_after_months is not null as expires
from florin.program where merchant = $1
"""
_MERCHANT = "select timezone, clock(id) as now from florin.merchant where id = $1"
PART = LEAST  # rows; a transaction of the job processes whole parts
_KEEP = """
insert into florin.job_part (merchant, job, part_number, sealed)
select $1, $2, $3::integer + n - 1, sealed from unnest($4::bytea[]) with ordinality s (sealed, n)
"""
_DROP = "delete from florin.job_part where merchant = $1 and job = $2"
_JOB = """
insert into florin.job (merchant, id, kind, total, done, refused, errors, codes, actor,
  location, file, amounts_accepted)
values ($1, $2, 'import', $3, $4, $4, $5::text::jsonb, $6, $7, $8, $9::text::jsonb, true)
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


async def start_import(
    database: Database,
    sealer: Sealer,
    context: RequestContext,
    blocks: AsyncIterator[bytes],
    totals: ControlTotals,
    form: FileFormat,
) -> tuple[Job, bool]:
    """Store the file and create its job. Returns the job, and whether its key was used before.

    Raises InvalidRequest, ProgramNotFound, TooLarge, IdempotencyKeyReused, QuotaExceeded.
    """
    job, kept = ids.new_id(), ParsedImport()
    known = False
    try:
        async for part in _parse(database, context.merchant, blocks, totals, form, kept):
            parts = await asyncio.to_thread(
                _sealed, sealer, part.rows, context.merchant, job, kept.parts
            )
            async with database.connection() as connection:
                await connection.execute(_KEEP, context.merchant, job, kept.parts, parts)
            kept.parts += len(parts)
        kept.check(totals)
        first = await _record(database, context, job, totals, form, kept)
        known = first == job
    finally:
        if not known and kept.parts:
            await asyncio.shield(asyncio.ensure_future(_drop(database, context.merchant, job)))
    current = await jobs.find_job(database, context.merchant, first)
    as_first = jobs.job_as_created(
        current,
        codes="waiting" if kept.gives_codes else "none",
        refused=kept.refused,
        errors=kept.errors,
    )
    return as_first, not known


async def check_import(
    database: Database,
    merchant: UUID,
    blocks: AsyncIterator[bytes],
    totals: ControlTotals,
    form: FileFormat,
) -> Job:
    """Read the file as an import does, and store nothing; the job has no id. Raises as
    `start_import` does.
    """
    kept = ParsedImport()
    async for _ in _parse(database, merchant, blocks, totals, form, kept):
        pass
    kept.check(totals)
    return Job(
        id=ids.show_id("job", ids.NONE),
        kind="import",
        state="queued",
        done=0,
        total=kept.count + kept.empty,
        refused=kept.refused,
        cancelled=0,
        batch=None,
        file=kept.file(),
        program=None,
        amount=None,
        codes="waiting" if kept.gives_codes else "none",
        errors=kept.errors,
        created_at=datetime.now(UTC),
        finished_at=None,
    )


async def _parse(
    database: Database,
    merchant: UUID,
    blocks: AsyncIterator[bytes],
    totals: ControlTotals,
    form: FileFormat,
    kept: ParsedImport,
) -> AsyncGenerator[ImportPart]:
    """Parse the file and count it in `kept`; yield the parts that have valid rows."""
    programs = {
        row["id"]: ProgramFacts(
            row["currency"],
            row["pin"],
            row["min_amount"],
            row["max_amount"],
            tuple(row["denominations"] or ()),
            row["imported_codes"],
            row["expires"],
        )
        for row in await database.all(_PROGRAMS, merchant)
    }
    given = read_columns(form.columns)
    facts = await database.one(_MERCHANT, merchant)
    assert facts is not None  # of the caller
    options = ImportOptions(
        columns=given,
        amounts=form.amounts,
        dates=form.dates,
        zone=facts["timezone"],
        now=facts["now"],
    )
    reader: ImportReader | None = None
    splitter = RecordSplitter(KnownColumns(given))
    source = to_utf8(_hashed(blocks, kept.digest), kept.encodings)
    async for records in split_records(source, splitter, CHUNK):
        if reader is None:
            assert splitter.separator is not None  # there is a first record
            default = _default(programs, totals)
            reader = ImportReader(records[0], splitter.separator, programs, default, options)
            kept.separator, kept.columns = splitter.separator, reader.columns
            records = records[1:]  # noqa: PLW2901 -- without the header
        part = await asyncio.to_thread(reader.read, records)
        kept.add(part)
        if kept.count + kept.empty > MOST:
            raise TooLarge(f"a file has at most {MOST} rows")
        if part.rows:
            kept.gives_codes = kept.gives_codes or _gives_codes(part, programs)
            yield part


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
    return any(
        row.code is None or (programs[row.program].pin and row.pin is None) for row in part.rows
    )


async def _record(
    database: Database,
    context: RequestContext,
    job: UUID,
    totals: ControlTotals,
    form: FileFormat,
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
            fingerprint=fingerprint("import", totals, kept.digest.hexdigest(), *form.given()),
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
                msgspec.json.encode(kept.file()).decode(),
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
