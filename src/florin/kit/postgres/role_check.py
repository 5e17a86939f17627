"""Role check: the application's database role must not own the ledger.

The owner of the ledger's tables, and a superuser, can disable every other guard. Only the database
knows the owner, so the check runs when the database first answers.
"""

import asyncio
import os

import asyncpg

from florin.kit.observability import logging as log
from florin.kit.postgres.database import BROKEN, Connection, Database, PoolTimeout
from florin.kit.settings import Settings

REFUSED = 2  # the exit code, as for invalid settings
_PAUSE_S = 1.0

# An SQL expression. A superuser is a member of every role.
OWNS = """
(select coalesce(bool_or(pg_has_role(current_user, owner, 'member')), false) from (
  select nspowner as owner from pg_namespace where nspname ~ '^florin(_[0-9a-f]{12})?$'
  union select relowner from pg_class where relnamespace = to_regnamespace('florin')
  union select proowner from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname ~ '^florin(_[0-9a-f]{12})?$'
  union select oid from pg_roles where rolname = current_user and rolsuper) as owners)
"""
MISSING = (
    "DATABASE_URL's role owns the ledger, or is a superuser: it could disable the ledger's guards"
)
ADVICE = (
    "run florin migrate with that role in DATABASE_URL_OWNER and use a separate role in"
    " DATABASE_URL, or set FLORIN_SINGLE_ROLE=accept to run without this protection"
)
_log = log.get_logger()


def require_separate_roles(settings: Settings) -> bool:
    return settings.env == "production" and settings.single_role != "accept"


class OwnershipCheck:
    """Checks once, when the database first answers; logs a warning, or ends the process."""

    def __init__(self, settings: Settings) -> None:
        self._refused = require_separate_roles(settings)
        self._asked = False

    async def check(self, connection: Connection) -> None:
        """Check once; ends the process if it must not serve."""
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
        log.flush()
        # An immediate exit, no drain: the process was not ready yet and must not continue.
        os._exit(REFUSED)

    async def check_soon(self, database: Database) -> None:
        """Check as soon as the database answers."""
        while not self._asked:
            try:
                async with database.connection() as connection:
                    await self.check(connection)
            except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
                await asyncio.sleep(_PAUSE_S)
