"""A PostgreSQL server for tests, with its own directory and port, removed afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florin.kit.postgres import database as db
from florin.kit.postgres import migrations
from florin.ops.system import bundled_programs, os_user
from tests.support.ports import free_port

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin/postgres")
_READY_WITHIN_S = 90


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `pid`: of the postmaster."""

    port: int
    data: Path
    process: subprocess.Popen[Any]

    def url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"


def program(*, debian: bool = False) -> Path:
    return (
        DEBIAN_15
        if debian
        else bundled_programs.engine_program(bundled_programs.POSTGRES, os_user.choose_account([]))
    )


@contextmanager
def server(
    postgres: Path,
    *,
    durable: bool = False,
    more: Sequence[str] = (),
    disk: Path | None = None,
    log: Path | None = None,
) -> Generator[Server]:
    """Start a server of that program; `durable` where a test kills it; `more` of its settings.

    `disk` is where its directory is made, `log` an empty directory for its write-ahead log.
    """
    user = os_user.choose_account([])
    place = Path(tempfile.mkdtemp(prefix="florin-test-", dir=disk))
    data = place / "data"
    try:
        place.chmod(0o755)
        data.mkdir(mode=0o700)
        if user is not None:
            os.chown(data, user.uid, user.gid)
        initdb = [str(postgres.with_name("initdb")), "-D", str(data), "-U", "postgres", "-E"]
        initdb += ["UTF8", "--auth=trust", "--locale=C", "--no-instructions"]
        initdb += [] if log is None else [f"--waldir={os_user.make_private_dir(log, user)}"]
        said = os_user.run_as(user, initdb)
        assert said.returncode == 0, said.stderr
        settings = ["shared_buffers=256MB", "max_connections=200", "max_wal_size=2GB"]
        settings += [f"fsync={'on' if durable else 'off'}", "listen_addresses='127.0.0.1'"]
        settings += ["unix_socket_directories=''", "autovacuum_naptime='10s'"]
        if not durable:
            settings += ["synchronous_commit=off", "full_page_writes=off"]
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n" + "\n".join([*settings, *more]) + "\n")
        process, port = start(postgres, data)
        try:
            yield Server(port, data, process)
        finally:
            stop(process)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def start(
    postgres: Path, data: Path, port: int | None = None, more: Sequence[str] = ()
) -> tuple[subprocess.Popen[Any], int]:
    """Start a server on a directory and wait until it accepts connections."""
    user = os_user.choose_account([])
    port = port or free_port()
    options: dict[str, Any] = {} if user is None else dict(user.options())
    with (data.parent / "log").open("ab") as log:
        process: subprocess.Popen[Any] = subprocess.Popen(
            [
                str(postgres),
                "-D",
                str(data),
                "-p",
                str(port),
                *(w for m in more for w in ("-c", m)),
            ],
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"},
            start_new_session=True,
            **options,
        )
    deadline = time.monotonic() + _READY_WITHIN_S
    ready = [str(postgres.with_name("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while os_user.run_as(user, ready).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise AssertionError((data.parent / "log").read_text("utf-8")[-2000:])
        time.sleep(0.02)
    return process, port


def stop(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(20)


async def make_template(at: Server) -> None:
    """A migrated template database, which each test module copies."""
    admin = await db.open_connection(at.url("postgres", "postgres"), name="tests")
    try:
        await admin.execute("create role florin_owner login createrole")
        await admin.execute("create database florin_template owner florin_owner")
    finally:
        await admin.close()
    await migrations.run_migrations(
        owner_url=at.url("florin_owner", "florin_template"),
        app_url=at.url("florin_app", "florin_template"),
        only_plan=False,
    )


async def make_database(at: Server, name: str) -> None:
    admin = await db.open_connection(at.url("postgres", "postgres"), name="tests")
    try:
        await admin.execute(f'create database "{name}" template florin_template owner florin_owner')
    finally:
        await admin.close()
