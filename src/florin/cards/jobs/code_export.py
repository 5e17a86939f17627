"""Code export: download the codes of a job, once, as one file; then they are erased.

Only the principal that starts a download gets the codes. When the download is interrupted, only
that principal may repeat it: another one would get codes that are possibly known to the first. The
codes count as taken when the last line was sent. The audit log records the start and the end of
each download.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import HEADER, HEADER_WITH_PIN, code_export_binding
from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, Refusal
from florin.kit.postgres.database import Database, Tx

EXCLUSIVE_FOR = "60 seconds"  # after the last part that was sent
SHEETS = 10  # read at once

_BEGIN = f"""
update florin.job j set codes = 'downloading', download_actor = $3,
  download_number = download_number + 1,
  downloading_until = clock_timestamp() + $4::text::interval
where merchant = $1 and id = $2 and (state = 'finished' or {jobs.FAILED}) and (codes = 'waiting'
  or codes = 'downloading' and download_actor = $3 and downloading_until <= clock_timestamp())
returning download_number, done - refused - cancelled as cards
"""  # noqa: S608 -- our own text
_BEGUN_BY = "select download_actor from florin.job where merchant = $1 and id = $2"
_SHEETS = """
select part_number, sealed from florin.job_code_export
where merchant = $1 and job = $2 and part_number > $3
order by part_number limit $4
"""
_RENEW = """
update florin.job set downloading_until = clock_timestamp() + $4::text::interval
where merchant = $1 and id = $2 and codes = 'downloading' and download_number = $3 returning id
"""
# A failed job may be retried meanwhile: its next parts wait for this lock and are not erased.
_LOCK = """
select id from florin.job
where merchant = $1 and id = $2 and codes = 'downloading' and download_number = $3
for no key update
"""
_ERASE = "delete from florin.job_code_export where merchant = $1 and job = $2 and part_number <= $3"
_TAKEN = """
update florin.job set downloading_until = null, codes = case when exists (
    select from florin.job_code_export s where s.merchant = $1 and s.job = $2)
  then 'waiting' else 'taken' end
where merchant = $1 and id = $2
"""
_CUT_OFF = """
update florin.job set downloading_until = clock_timestamp()
where merchant = $1 and id = $2 and codes = 'downloading' and download_number = $3 returning id
"""

# An imported file may have several programs: its export always has the column of the PIN.
_PIN = """
select j.kind = 'import' or p.pin as pin
from florin.job j left join florin.program p on p.merchant = j.merchant and p.id = j.program
where j.merchant = $1 and j.id = $2
"""


# Makes another file of the whole CSV text.
Layout = Callable[[str], Awaitable[bytes]]


class CodesTaken(Refusal):
    """The codes of this job were already downloaded; they are available once."""

    code = "codes_taken"
    status = 410


class CodesExpired(Refusal):
    """The codes of this job were not downloaded in time and are erased; use rotate-code."""

    code = "codes_expired"
    status = 410


class CodesBeingTaken(Refusal):
    """A download of these codes was started; only the principal that started it may repeat it."""

    code = "codes_being_taken"
    status = 409


class JobNotFinished(Refusal):
    """The job is not finished: wait for it, or cancel what it has not begun."""

    code = "job_not_finished"
    status = 409
    retry_after_s = 5


class DownloadLost(Exception):
    """The codes expired, or this download stalled and was started again: it must fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One download of the codes of a job. Its number fences off all earlier downloads."""

    by: AuditActor
    job: UUID
    number: int
    cards: int


async def take_codes(
    database: Database, sealer: Sealer, by: AuditActor, job: UUID, layout: Layout | None = None
) -> AsyncGenerator[bytes]:
    """Start a download of the codes, as CSV or in another layout.

    Raises NotFound, JobNotFinished, CodesTaken, CodesExpired, CodesBeingTaken.
    """
    async with database.transaction() as tx:
        row = await tx.one(_BEGIN, by.merchant, job, by.actor, EXCLUSIVE_FOR)
        if row is not None:
            await _record(tx, by, job, "codes.download_began", row["download_number"], row["cards"])
    if row is None:
        raise await _refusal(database, by, job)
    download = Download(by=by, job=job, number=row["download_number"], cards=row["cards"])
    return _read(database, sealer, download, layout)


async def _refusal(database: Database, by: AuditActor, job: UUID) -> Refusal:
    """The reason why the codes cannot be downloaded now. Raises NotFound."""
    current = await jobs.find_job(database, by.merchant, job)
    if current.codes == "none":
        return NotFound()
    if current.codes == "expired":
        return CodesExpired()
    if current.state not in {"finished", "failed"}:
        return JobNotFinished()
    if current.codes == "taken":
        return CodesTaken()
    row = await database.one(_BEGUN_BY, by.merchant, job)
    if row is not None and row["download_actor"] == by.actor:
        return CodesBeingTaken(
            "your download of these codes is still running; repeat it if it was interrupted",
            retry_after_s=60,
        )
    return CodesBeingTaken()


async def _read(
    database: Database, sealer: Sealer, download: Download, layout: Layout | None
) -> AsyncGenerator[bytes]:
    merchant, job = download.by.merchant, download.job
    taken = False
    kept: list[bytes] = []
    try:
        program = await database.one(_PIN, merchant, job)
        header = HEADER_WITH_PIN if program is not None and program["pin"] else HEADER
        last = -1
        async for number, lines in _read_parts(database, sealer, download, header):
            last = number
            if layout is None:
                yield lines
            else:
                kept.append(lines)
        if layout is not None:
            yield await layout(b"".join(kept).decode())
        # Only then the client sees the end of the file.
        await _finish(database, download, last)
        taken = True
    finally:
        if not taken:
            await asyncio.shield(asyncio.ensure_future(_cut_off(database, download)))


async def _read_parts(
    database: Database, sealer: Sealer, download: Download, header: str
) -> AsyncGenerator[tuple[int, bytes]]:
    """The lines of each part with its number, after the header. Raises DownloadLost."""
    merchant, job = download.by.merchant, download.job
    last = -1
    yield last, header.encode()
    while rows := await database.all(_SHEETS, merchant, job, last, SHEETS):
        for row in rows:
            last = row["part_number"]
            bound = code_export_binding(merchant, job, last)
            yield last, sealer.unseal(row["sealed"], bound_to=bound).encode()
        if not await database.one(_RENEW, merchant, job, download.number, EXCLUSIVE_FOR):
            raise DownloadLost


async def _finish(database: Database, download: Download, last: int) -> None:
    """Mark the codes up to part `last` as taken and erase them. Raises DownloadLost."""
    merchant, job = download.by.merchant, download.job
    async with database.transaction() as tx:
        if await tx.one(_LOCK, merchant, job, download.number) is None:
            raise DownloadLost
        await tx.run(_ERASE, merchant, job, last)
        await tx.run(_TAKEN, merchant, job)
        await _record(tx, download.by, job, "codes.taken", download.number, download.cards)


async def _cut_off(database: Database, download: Download) -> None:
    """Let the same principal start again at once."""
    merchant, job = download.by.merchant, download.job
    async with database.transaction() as tx:
        if await tx.one(_CUT_OFF, merchant, job, download.number) is not None:
            action = "codes.download_cut_off"
            await _record(tx, download.by, job, action, download.number, download.cards)


async def _record(tx: Tx, by: AuditActor, job: UUID, action: str, number: int, cards: int) -> None:
    facts = {"download": number, "cards": cards}
    await audit_log.record_audit(tx, by, action, ids.show_id("job", job), after=facts)
