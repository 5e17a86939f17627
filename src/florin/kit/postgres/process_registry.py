"""Process registry: each instance and worker records which functions it calls while it runs.

A set of functions is removed only when no process calls it, and a contract migration waits for
processes of older releases. The database holds the record: processes may run on several machines.
"""

import asyncio
import contextlib
import time

import asyncpg

from florin.kit import ids
from florin.kit.observability import logging
from florin.kit.postgres.database import BROKEN, Connection, Database, PoolTimeout
from florin.kit.postgres.function_sets import REGISTRY_LOCK, USED_FOR_S
from florin.kit.postgres.sql_release import PACKAGED

RENEW_EVERY_S = USED_FOR_S / 20
LEAVE_WITHIN_S = 1.0
_RETRY_S = 1.0
_REGISTER = """
insert into florin.process (id, name, release, function_set, schema_number)
select $1::uuid, $2::text, $3::text, $4::text, $5::integer
where to_regnamespace($4::text) is not null
"""
_EXISTS = "select to_regnamespace($1) is not null"
_RENEW = "update florin.process set seen_at = clock_timestamp() where id = $1"
_FORGET_OLD = "delete from florin.process where seen_at < clock_timestamp() - interval '1 day'"
_LEAVE = "delete from florin.process where id = $1"
# A commit must not wait for synchronous replicas: an instance whose replica is away stays ready.
_LOCAL = "set local synchronous_commit = off"
_log = logging.get_logger()


class FunctionsMissing(Exception):
    """The database has no functions of this release."""

    def __init__(self) -> None:
        super().__init__(
            f"the database has no functions of this release ({PACKAGED.set_name}); run florin"
            " migrate with this release"
        )


_UNABLE = (FunctionsMissing, PoolTimeout, asyncpg.PostgresError, *BROKEN)


class ProcessRegistration:
    """This process in the registry."""

    def __init__(self, *, name: str, release: str) -> None:
        self._id = ids.new_id()
        self._name = name
        self._release = release
        self._renewed: float | None = None
        self._reported = False

    async def check(self, connection: Connection) -> None:
        """Register, or renew every RENEW_EVERY_S.

        Raises FunctionsMissing if this process could not call the ledger. That the record cannot be
        written, for example on a full disk, is logged only: reads go on.
        """
        now = time.monotonic()
        if self._renewed is not None and now - self._renewed < RENEW_EVERY_S:
            return
        if not await connection.fetchval(_EXISTS, PACKAGED.set_name):
            missing = FunctionsMissing()
            if not self._reported:
                _log.error("not ready", detail=str(missing))
            self._reported = True
            raise missing
        try:
            await self._record(connection)
        except asyncpg.PostgresError as error:
            _log.warning("this process is not in the registry", error=repr(error))
        self._renewed = now

    async def keep_registered(self, database: Database) -> None:
        """Register and renew until cancelled, then remove the record."""
        try:
            while True:
                pause_s = _RETRY_S
                with contextlib.suppress(*_UNABLE):
                    async with database.connection() as connection:
                        await self.check(connection)
                    pause_s = RENEW_EVERY_S
                await asyncio.sleep(pause_s)
        finally:
            with contextlib.suppress(TimeoutError, *_UNABLE):
                async with asyncio.timeout(LEAVE_WITHIN_S), database.connection() as connection:
                    await self.leave(connection)

    async def leave(self, connection: Connection) -> None:
        """Remove the record; a process that cannot is forgotten after USED_FOR_S."""
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.execute(_LEAVE, self._id)

    async def _record(self, connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute(_LOCAL)
            if await connection.execute(_RENEW, self._id) != "UPDATE 0":
                return
            # Not while sets are removed: this one is then either gone or seen to be in use.
            await connection.execute("select pg_advisory_xact_lock_shared($1)", REGISTRY_LOCK)
            made = await connection.execute(
                _REGISTER,
                *(self._id, self._name, self._release, PACKAGED.set_name, PACKAGED.schema_number),
            )
            if made == "INSERT 0 0":
                raise FunctionsMissing
            await connection.execute(_FORGET_OLD)
