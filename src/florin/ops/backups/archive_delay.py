"""Archive delay: how long after its commit something is where it survives the loss of the
server.
"""

import asyncio
import time
from collections.abc import Callable

from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, session
from florin.ops.postgres.server import Postgres
from florin.ops.system.console import OperatorError, timed

LOST_AT_MOST_S = 60.0
_LOOK_EVERY_S = 0.5
# A commit of nothing: in the log it is what a payment is, in the tables it is not there.
_MARK = "select pg_walfile_name(pg_logical_emit_message(true, 'florin', 'backup'))"


def measure(primary: Postgres, newest: Callable[[], str]) -> float | None:
    """Commit something and wait until the archive holds it; `newest` names its last segment.

    Returns seconds; None where no server runs that could commit. Raises OperatorError after a
    minute.
    """
    began = time.monotonic()
    try:
        segment = asyncio.run(_commit(primary))
    except NotYet:
        return None
    with timed("Waiting until what is written now is archived"):
        while newest().removesuffix(".gz") < segment:
            if time.monotonic() - began > LOST_AT_MOST_S:
                raise OperatorError(
                    f"What was written {LOST_AT_MOST_S:.0f} s ago is not archived; the log of"
                    f" {primary.name} says why, or nobody passes it on."
                )
            time.sleep(_LOOK_EVERY_S)
    return round(time.monotonic() - began, 1)


async def _commit(primary: Postgres) -> str:
    async with session(primary.url(postgres.SUPERUSER)) as connection:
        return await connection.fetchval(_MARK)
