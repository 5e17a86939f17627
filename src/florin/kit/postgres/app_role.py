"""App role: the database role of the application, created by `florin migrate` where it may."""

import secrets
import sys
from urllib.parse import unquote

from florin.kit.postgres.database import Connection
from florin.kit.postgres.short_locks import MigrationFailed
from florin.kit.urls import split_url

APPLICATION = "florin_app"  # created if the only URL is that of the owner


async def prepare_role(connection: Connection, app_url: str | None) -> str | None:
    """Return the role of DATABASE_URL, created if it is missing; None: nothing is granted.

    Raises MigrationFailed if the role is missing and the owner may not create it.
    """
    if app_url is None:
        return None
    role, password = role_of(app_url)
    me = str(await connection.fetchval("select current_user"))
    if role is None or role == me:
        return await _second_role(connection, me)
    await ensure_role(connection, role, password)
    return role


def role_of(app_url: str | None) -> tuple[str | None, str | None]:
    """Return the role and the password of a URL."""
    if app_url is None:
        return None, None
    parts = split_url(app_url)
    return unquote(parts.username or "") or None, unquote(parts.password or "") or None


async def ensure_role(connection: Connection, role: str, password: str | None) -> None:
    """Create the application's role if it is missing. Raises MigrationFailed without the right."""
    if await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
        return
    may = await connection.fetchval(
        "select rolcreaterole or rolsuper from pg_roles where rolname = current_user"
    )
    if not may:
        msg = (
            f"the role {role} of DATABASE_URL does not exist and the owner may not create it;"
            f" create it (CREATE ROLE {role} LOGIN PASSWORD '…') and run florin migrate again"
        )
        raise MigrationFailed(msg)
    statement = await connection.fetchval(
        "select format('create role %I login password %L', $1::text, $2::text)",
        role,
        password or secrets.token_urlsafe(24),
    )
    await connection.execute(statement)


async def _second_role(connection: Connection, me: str) -> str | None:
    """The application's role when the only URL is the owner's: created if the owner may.

    It gets the application's grants; a message with the remaining steps is printed each time.
    """
    if me == APPLICATION:
        return None
    role = None
    try:
        await ensure_role(connection, APPLICATION, None)
    except MigrationFailed:
        step = f"create another role (CREATE ROLE {APPLICATION} LOGIN PASSWORD '…')"
    else:
        role = APPLICATION
        step = f"set the password of {role} (ALTER ROLE {role} PASSWORD '…')"
    print(
        f"The application still uses the role that owns the ledger, {me}: {step}, then use it in"
        f" DATABASE_URL and {me} in DATABASE_URL_OWNER.",
        file=sys.stderr,
    )
    return role
