"""Role check: the second one: the application's role may call the ledger's functions and own
nothing.

Whoever owns the ledger's tables, or is a superuser, may switch off every other guard. Whether that
is so can only be asked of the database, hence once it answers.
"""

import asyncio
import logging
import os

import asyncpg

from florin.kit.observability import logging as log
from florin.kit.postgres.database import BROKEN, Connection, Database, PoolTimeout
from florin.kit.settings import Settings

REFUSED = 2  # the exit code, as for settings that are wrong
_PAUSE_S = 1.0

# As an expression. A superuser is a member of every role.
OWNS = """
(select coalesce(bool_or(pg_has_role(current_user, owner, 'member')), false) from (
  select nspowner as owner from pg_namespace where nspname = 'florin'
  union select relowner from pg_class where relnamespace = to_regnamespace('florin')
  union select proowner from pg_proc where pronamespace = to_regnamespace('florin')
  union select oid from pg_roles where rolname = current_user and rolsuper) as owners)
"""
MISSING = "DATABASE_URL's role owns the ledger, or is a superuser: the second belt is missing"
ADVICE = (
    "run florin migrate with that role in DATABASE_URL_OWNER and give DATABASE_URL a role of its"
    " own; FLORIN_SINGLE_ROLE=accept goes without"
)
_log = log.get_logger()


def require_separate_roles(settings: Settings) -> bool:
    return settings.env == "production" and settings.single_role != "accept"


class OwnershipCheck:
    """Asks once, when the database first answers; says what is missing, or ends the process."""

    def __init__(self, settings: Settings) -> None:
        self._refused = require_separate_roles(settings)
        self._asked = False

    async def check(self, connection: Connection) -> None:
        """Does not return where this process must not serve."""
        if self._asked:
            return
        owns = await connection.fetchval(f"select {OWNS}")
        self._asked = True
        if not owns:
            return
        if not self._refused:
            _log.warning("a setting", detail=f"{MISSING}; {ADVICE}")
            return
        _log.error("refused to start", detail=f"{MISSING}; {ADVICE}")
        logging.shutdown()
        # Not an orderly stop: nobody was told that we are ready, and none of it may go on.
        os._exit(REFUSED)

    async def check_soon(self, database: Database) -> None:
        """Check as soon as the database answers."""
        while not self._asked:
            try:
                async with database.connection() as connection:
                    await self.check(connection)
            except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
                await asyncio.sleep(_PAUSE_S)
