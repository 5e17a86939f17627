"""Short locks: changes of the schema that never keep other statements waiting for long.

A change that waits for its lock makes everything queue behind it: a table that one long SELECT
reads would be out of use. So a change waits a fifth of a second at most, lets the queue pass, and
tries again after a pause.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import asyncpg

from florin.kit.postgres.database import Connection

WAIT_MS = 200
GIVE_UP_S = 60.0
_PAUSE_S, _PAUSE_MAX_S = 0.2, 3.0
# The owner of the schema may read the locks of other roles, but not since when they have them.
_HOLDERS = """
select string_agg(distinct format('%s (pid %s)', coalesce(nullif(a.application_name, ''),
  a.usename), a.pid), ', ')
from pg_locks l join pg_stat_activity a on a.pid = l.pid join pg_class c on c.oid = l.relation
where c.relnamespace = to_regnamespace('florin') and l.granted and a.pid <> pg_backend_pid()
  and a.datname = current_database()
"""


class MigrationFailed(Exception):
    """The message for the operator, in one sentence."""


async def in_short_locks(
    connection: Connection, what: str, change: Callable[[], Awaitable[None]]
) -> None:
    """Run `change` in a transaction, again and again until it gets its locks.

    Raises MigrationFailed when it got none for GIVE_UP_S; then nothing was changed.
    """
    give_up, pause_s = time.monotonic() + GIVE_UP_S, _PAUSE_S
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = '{WAIT_MS}ms'")
                await change()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if time.monotonic() > give_up:
                holders = await connection.fetchval(_HOLDERS)
                msg = (
                    f"{what} got no lock within {GIVE_UP_S:.0f} s and changed nothing; its tables"
                    f" are in use by {holders or 'no one at this moment'}; wait for those"
                    " transactions or end them, then run florin migrate again"
                )
                raise MigrationFailed(msg) from None
        else:
            return
        # Random: several changes that wait for one another's locks do not meet again.
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        pause_s = min(pause_s * 1.5, _PAUSE_MAX_S)
