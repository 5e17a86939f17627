"""Retention: erase sealed codes, codes that were never downloaded, and old idempotency keys."""

import asyncio
import time

from florin.kit.queue.job import Continue, QueuedJob

SLICE_S = 5.0
CODES = 1000
PAGES = 256  # of 8 kB, scanned in one transaction
SHEETS_KEPT = "30 days"
_PAUSE_S = 0.01


async def erase_codes(job: QueuedJob) -> Continue | None:
    """Erase the sealed copies of codes that no request may read any more."""
    until = time.monotonic() + SLICE_S
    while time.monotonic() < until and not job.stopping:
        async with job.effect() as tx:
            erased = await tx.value("select erase_codes($1)", CODES)
        if erased < CODES:
            return None
    return Continue()


async def erase_code_exports(job: QueuedJob) -> None:
    """Erase the codes that were not downloaded within a month, the parts of imported files that
    were not received completely, and the counts of quotas that are older than a week.
    """
    async with job.effect(last=True) as tx:
        await tx.run(
            "with old as (update florin.job set codes = 'expired' where codes in"
            " ('waiting', 'downloading')"
            " and finished_at < clock_timestamp() - $1::text::interval"
            " and coalesce(downloading_until, '-infinity') < clock_timestamp()"
            " returning merchant, id)"
            " delete from florin.job_code_export s using old o"
            " where s.merchant = o.merchant and s.job = o.id",
            SHEETS_KEPT,
        )
        await tx.run("delete from florin.quota_use where day < current_date - 7")
        await tx.run(
            "delete from florin.job_part p"
            " where p.created_at < clock_timestamp() - interval '1 day' and not exists ("
            "select from florin.job j where j.merchant = p.merchant and j.id = p.job)"
        )


async def forget_keys(job: QueuedJob, *, days: int) -> Continue | None:
    """Scan the idempotency keys and delete those that are older than `days`.

    A scan that is interrupted, or stopped by its worker, starts again from the first page; what it
    deleted stays deleted.
    """
    page = 0
    while not job.stopping:
        async with job.effect() as tx:
            deleted = await tx.value("select forget_keys($1, $2, $3)", page, PAGES, days)
        if deleted is None:
            return None
        page += PAGES
        await asyncio.sleep(_PAUSE_S)
    return Continue()
