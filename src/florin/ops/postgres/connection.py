"""Connection: one short-lived connection to PostgreSQL."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from florin.kit.postgres.database import BROKEN, PoolLimits
from florin.ops.system.console import OperatorError

# asyncpg states no types for it.
_connect: Any = vars(asyncpg)["connect"]

BadPassword = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
Refused = asyncpg.PostgresError
NotYet = (asyncpg.PostgresError, *BROKEN)


@asynccontextmanager
async def open_session(url: str, *, within_s: float = 10) -> AsyncGenerator[Any]:
    # What a URL says about pools is for pools; PostgreSQL would not know it.
    connection = await _connect(PoolLimits(url).dsn, timeout=within_s)
    try:
        yield connection
    except BaseException:
        connection.terminate()  # a server that is frozen would never say goodbye
        raise
    try:
        await connection.close(timeout=within_s)
    except NotYet:
        connection.terminate()


async def require_database(url: str, variable: str) -> None:
    """Raise Unable with the reason when a given database cannot be used. Never shows the URL."""
    try:
        async with open_session(url):
            return
    except BadPassword:
        why = "it refuses the user or the password"
    except asyncpg.InvalidCatalogNameError:
        why = "there is no database of that name"
    except (OSError, TimeoutError):
        why = "nothing answers at its address"
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        why = str(error).splitlines()[0]
    raise OperatorError(
        f"The database of {variable} cannot be used: {why}; correct the URL or start it."
    )
