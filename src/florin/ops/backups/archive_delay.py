"""Archive delay: the time until a commit is archived, where it survives the loss of the server."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.system.console import OperatorError, timed

LOST_AT_MOST_S = 60.0
_LOOK_EVERY_S = 0.5
# An empty commit: it writes to the log like a payment, but changes no table.
_MARK = "select pg_walfile_name(pg_logical_emit_message(true, 'florin', 'backup'))"
_FAILED = """
select last_failed_wal from pg_stat_archiver
where last_failed_time > coalesce(last_archived_time, '-infinity')
"""


def measure_archive_delay(
    url: str,
    newest: Callable[[], str],
    *,
    end_segment: bool = False,
    within_s: float = LOST_AT_MOST_S,
) -> float | None:
    """Commit and wait until the archive has the commit; `newest` returns its newest segment.

    `end_segment`: end the segment now, so that only the archiving is measured. Returns seconds;
    None if no server runs. Raises OperatorError after `within_s`.
    """
    began = time.monotonic()
    try:
        segment = asyncio.run(_commit(url, end_segment=end_segment))
    except NotYet:
        return None
    with timed("Waiting until the latest writes are archived"):
        while newest().removesuffix(".gz") < segment:
            if time.monotonic() - began > within_s:
                raise OperatorError(
                    f"A write from {within_s:.0f} s ago is not archived{_why(url)}. See the log of"
                    " the primary, and check with florin status that a supervisor runs."
                )
            time.sleep(_LOOK_EVERY_S)
    return round(time.monotonic() - began, 1)


async def _commit(url: str, *, end_segment: bool) -> str:
    async with open_session(url) as connection:
        segment = await connection.fetchval(_MARK)
        if end_segment:
            await connection.execute("select pg_switch_wal()")
        return segment


def _why(url: str) -> str:
    async def ask() -> str | None:
        async with open_session(url) as connection:
            return await connection.fetchval(_FAILED)

    with contextlib.suppress(*NotYet):
        if failed := asyncio.run(ask()):
            return f" (PostgreSQL could not archive {failed})"
    return ""
