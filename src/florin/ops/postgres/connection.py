"""Connection: one short-lived connection to PostgreSQL."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from florin.kit.postgres.database import BROKEN, PoolLimits
from florin.ops.system.console import OperatorError

# asyncpg has no type annotations for it.
_connect: Any = vars(asyncpg)["connect"]

BadPassword = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
Refused = asyncpg.PostgresError
NotYet = (asyncpg.PostgresError, *BROKEN)


@asynccontextmanager
async def open_session(url: str, *, within_s: float = 10) -> AsyncGenerator[Any]:
    # The URL's parameters for pools are removed; PostgreSQL would reject them.
    connection = await _connect(PoolLimits(url).dsn, timeout=within_s)
    try:
        yield connection
    except BaseException:
        connection.terminate()  # a frozen server would never answer a regular close
        raise
    try:
        await connection.close(timeout=within_s)
    except NotYet:
        connection.terminate()


async def require_database(url: str, variable: str) -> None:
    """Raise OperatorError with the reason when the database of `variable` cannot be used.

    The message never shows the URL.
    """
    try:
        async with open_session(url):
            return
    except BadPassword:
        why = "it rejects the user or the password"
    except asyncpg.InvalidCatalogNameError:
        why = "there is no database of that name"
    except (OSError, TimeoutError):
        why = "no server answers at its address"
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        why = str(error).splitlines()[0]
    raise OperatorError(
        f"The database of {variable} cannot be used: {why}. Correct the URL or start the server."
    )
