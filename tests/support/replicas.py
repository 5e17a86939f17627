"""Streaming replicas of a test's PostgreSQL, created by pg_basebackup and removed afterwards."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from florin.bench.verify import statement_log
from florin.ops.system import os_user
from tests.support import postgres_server

STATEMENT_LOG = tuple(f"{name}='{value}'" for name, value in statement_log.SETTINGS.items())
# Without fsync, but with immediate WAL writes: a replica receives only written WAL.
PRIMARY = ("synchronous_commit=on", "wal_level=replica", "max_wal_senders=10", *STATEMENT_LOG)


@contextmanager
def replica(
    postgres: Path, of: postgres_server.Server, name: str
) -> Generator[postgres_server.Server]:
    user = os_user.choose_account([])
    place = Path(tempfile.mkdtemp(prefix="florin-test-"))
    try:
        place.chmod(0o755)
        if user is not None:
            os.chown(place, user.uid, user.gid)
        data = place / "data"
        source = f"host=127.0.0.1 port={of.port} user=postgres application_name={name}"
        arguments = ["-D", str(data), "-d", source, "-R", "-C", "-S", name, "-X", "stream"]
        arguments += ["-c", "fast", "--no-sync"]
        said = os_user.run_as(user, [str(postgres.with_name("pg_basebackup")), *arguments])
        assert said.returncode == 0, said.stderr
        process, port = postgres_server.start(postgres, data)
        try:
            yield postgres_server.Server(port, data, process)
        finally:
            postgres_server.stop(process)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def asked(server: postgres_server.Server) -> list[tuple[str, str]]:
    """The statements that a server received, as (application, statement), from its log."""
    return list(statement_log.read_statements(server.data.parent / "log"))
