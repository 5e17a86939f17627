"""Code export: the codes of a job, handed out once, as one file, and then erased.

Whoever takes them has them alone for as long as he reads. Only when the last line was handed over
are they taken; a download that breaks off can be begun again.
"""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import HEADER, HEADER_WITH_PIN, sheet_binding
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, Refusal
from florin.kit.postgres.database import Database

ALONE_FOR = "60 seconds"  # after the last line that was read
SHEETS = 10  # read at once

_BEGIN = """
update florin.job set codes = 'leaving', leaving_until = clock_timestamp() + $3::text::interval
where merchant = $1 and id = $2 and state = 'finished' and (codes = 'waiting'
  or codes = 'leaving' and leaving_until < clock_timestamp())
returning id
"""
_SHEETS = """
select nth, sealed from florin.job_sheet where merchant = $1 and job = $2 and nth > $3
order by nth limit $4
"""
_STILL = """
update florin.job set leaving_until = clock_timestamp() + $3::text::interval
where merchant = $1 and id = $2 and codes = 'leaving'
"""
_TAKEN = """
with taken as (
  update florin.job set codes = 'taken', leaving_until = null
  where merchant = $1 and id = $2 and codes = 'leaving' returning merchant, id
)
delete from florin.job_sheet s using taken t where s.merchant = t.merchant and s.job = t.id
"""
_BACK = """
update florin.job set codes = 'waiting', leaving_until = null
where merchant = $1 and id = $2 and codes = 'leaving'
"""


# An imported file is of any number of programs: its lines have room for a PIN.
_PIN = """
select j.kind = 'import' or p.pin as pin
from florin.job j left join florin.program p on p.merchant = j.merchant and p.id = j.program
where j.merchant = $1 and j.id = $2
"""


class CodesTaken(Refusal):
    """The codes of this job were taken; they are shown once."""

    code = "codes_taken"
    status = 410


class CodesExpired(Refusal):
    """The codes of this job were not taken in time and are erased; rotate-code makes new ones."""

    code = "codes_expired"
    status = 410


class CodesLeaving(Refusal):
    """Somebody is taking the codes of this job now."""

    code = "codes_being_taken"
    status = 409
    retry_after_s = 60


class JobNotFinished(Refusal):
    """This job is not finished."""

    code = "job_not_finished"
    status = 409
    retry_after_s = 5


async def take(
    database: Database, sealer: Sealer, merchant: UUID, job: UUID
) -> AsyncGenerator[bytes]:
    """Begin to take the codes. Raises NotFound, JobNotFinished, CodesTaken, CodesLeaving."""
    if await database.one(_BEGIN, merchant, job, ALONE_FOR) is None:
        found = await jobs.find(database, merchant, job)
        if found.codes == "none":
            raise NotFound
        if found.codes == "expired":
            raise CodesExpired
        if found.state != "finished":
            raise JobNotFinished
        raise CodesTaken if found.codes == "taken" else CodesLeaving
    return _read(database, sealer, merchant, job)


async def _read(
    database: Database, sealer: Sealer, merchant: UUID, job: UUID
) -> AsyncGenerator[bytes]:
    taken = False
    try:
        program = await database.one(_PIN, merchant, job)
        header = HEADER_WITH_PIN if program is not None and program["pin"] else HEADER
        yield header.encode()
        last = -1
        while rows := await database.all(_SHEETS, merchant, job, last, SHEETS):
            for row in rows:
                last = row["nth"]
                bound = sheet_binding(merchant, job, last)
                yield sealer.unseal(row["sealed"], bound_to=bound).encode()
            await _run(database, _STILL, merchant, job, ALONE_FOR)
        # The reader learns of the end of the file after this.
        await _run(database, _TAKEN, merchant, job)
        taken = True
    finally:
        if not taken:
            await asyncio.shield(asyncio.ensure_future(_run(database, _BACK, merchant, job)))


async def _run(database: Database, sql: str, *args: object) -> None:
    async with database.connection() as connection:
        await connection.execute(sql, *args)
