"""Standby: make a member a replica of the primary, by pg_rewind of its data or by a new copy."""

import asyncio
import contextlib
import re
import shutil
from pathlib import Path

from florin.ops.fleet.home import require_space
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.server import Postgres
from florin.ops.system import account_files, os_user
from florin.ops.system.console import OperatorError, say, timed

_COPY_WITHIN_S = 6 * 3600
_SPARE_MB, _MB = 300, 2**20
_MEGABYTES = "select (sum(pg_database_size(oid)) / 1048576)::int from pg_database"
_WAS_REPLICA = ("in archive recovery", "shut down in recovery")
_WAS_PRIMARY = ("in production", "shut down", "in crash recovery", "shutting down")


def make_standby(server: Postgres, primary: Postgres, *, rebuild: bool) -> None:
    """Prepare a server's data so that it can stream from the primary. Raises OperatorError.

    The data of a former primary is removed only after a complete copy: it may have what no other
    server has. A replica has no data of its own.
    """
    os_user.make_private_dir(server.data.parent, server.account)
    _finish_replacing(server)
    state = read_control_file(server).get("Database cluster state", "")
    if not state:
        _copy(server, primary, keep=True)
    elif (state in _WAS_PRIMARY or rebuild) and not _rewind(server, primary):
        say(f"{server.name} could not be rewound; copying it from the primary.")
        _copy(server, primary, keep=state not in _WAS_REPLICA)
    account_files.write_account_file(server.data / "standby.signal", b"", server.account)
    server.write_settings()
    server.clear_remains()


def read_control_file(server: Postgres) -> dict[str, str]:
    """Return the fields of the control file; empty if there is no complete database."""
    if not (server.data / "PG_VERSION").exists():
        return {}
    said = os_user.run_as(server.account, [_program(server, "pg_controldata"), str(server.data)])
    pairs = (line.partition(":") for line in said.stdout.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def end_of_log(server: Postgres) -> int | None:
    """Return the end of the log of a primary after a clean shutdown, else None."""
    said = read_control_file(server)
    found = re.fullmatch(r"([0-9A-F]+)/([0-9A-F]+)", said.get("Latest checkpoint location", ""))
    if said.get("Database cluster state") != "shut down" or found is None:
        return None
    return (int(found[1], 16) << 32) + int(found[2], 16)


def _copy(server: Postgres, primary: Postgres, *, keep: bool) -> None:
    """Copy to a temporary directory and rename it: an interruption leaves no partial database.

    `keep`: the old data stays until the copy is complete. Otherwise it is removed first when the
    disk has too little space for both.
    """
    partial = server.data.with_name(f"{server.data.name}.new")
    account_files.remove_account_files(partial, server.account)
    needed = _SPARE_MB + asyncio.run(_megabytes(primary))
    if not keep and shutil.disk_usage(server.data.parent).free < needed * _MB:
        account_files.remove_account_files(server.data, server.account)
    try:
        require_space(server.data.parent, needed, f"the copy in {server.name}")
    except OperatorError as error:
        kept = f" {server.data} was kept: {server.name} was the primary." if keep else ""
        raise OperatorError(f"{error}{kept}") from None
    with timed(f"Copying {primary.name} to {server.name}"):
        said = os_user.run_as(
            server.account,
            [
                _program(server, "pg_basebackup"),
                *("-D", str(partial), "-X", "stream", "-c", "fast"),
                *("-h", "127.0.0.1", "-p", str(primary.port), "-U", postgres.REPLICA, "-w"),
            ],
            within_s=_COPY_WITHIN_S,
            more={"PGPASSWORD": server.secrets["REPLICA_PASSWORD"]},
        )
    if said.returncode != 0:
        account_files.remove_account_files(partial, server.account)
        why = os_user.error_in(said.stderr)
        raise OperatorError(f"{server.name} could not be copied from {primary.name}: {why}")
    if server.data.exists():
        account_files.move_account_file(server.data, _replaced(server), server.account)
    account_files.move_account_file(partial, server.data, server.account)
    _finish_replacing(server)


def _replaced(server: Postgres) -> Path:
    """Return where the old data is moved while a copy replaces it."""
    return server.data.with_name(f"{server.data.name}.replaced")


def _finish_replacing(server: Postgres) -> None:
    """Remove the replaced data, or put it back when the copy was never put in its place."""
    replaced = _replaced(server)
    if replaced.exists() and not server.data.exists():
        account_files.move_account_file(replaced, server.data, server.account)
    account_files.remove_account_files(replaced, server.account)


async def _megabytes(primary: Postgres) -> int:
    """Return the size of a copy in MB; 0 when the primary does not answer (the copy fails then)."""
    with contextlib.suppress(*NotYet):
        async with open_session(primary.url(postgres.SUPERUSER)) as connection:
            return await connection.fetchval(_MEGABYTES)
    return 0


def _rewind(server: Postgres, primary: Postgres) -> bool:
    server.clear_remains()
    # pg_rewind reads the primary's timeline from its control file; a checkpoint writes it there.
    with contextlib.suppress(Exception):
        asyncio.run(_checkpoint(primary))
    source = f"host=127.0.0.1 port={primary.port} user={postgres.SUPERUSER} dbname=postgres"
    with timed(f"Rewinding {server.name} to the history of {primary.name}"):
        said = os_user.run_as(
            server.account,
            [
                _program(server, "pg_rewind"),
                *("-D", str(server.data), f"--source-server={source}"),
            ],
            within_s=_COPY_WITHIN_S,
            more={"PGPASSWORD": server.secrets["POSTGRES_PASSWORD"]},
        )
    return said.returncode == 0


async def _checkpoint(primary: Postgres) -> None:
    async with open_session(primary.url(postgres.SUPERUSER)) as connection:
        await connection.execute("checkpoint")


def _program(server: Postgres, name: str) -> str:
    return str(server.program.with_name(name))
