"""Streaming replicas of a test's PostgreSQL: real ones, made by pg_basebackup, gone afterwards."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from florin.ops.engines import account
from tests import engine

# What was asked of a server, by whom: the test reads it in the server's own log.
TOLD = ("log_statement='all'", "log_line_prefix='%a|'", "log_min_duration_statement=-1")
# fsync apart, a commit is written at once: a replica receives what was written only.
PRIMARY = ("synchronous_commit=on", "wal_level=replica", "max_wal_senders=10", *TOLD)


@contextmanager
def replica(postgres: Path, of: engine.Server, name: str) -> Generator[engine.Server]:
    user = account.choose([])
    place = Path(tempfile.mkdtemp(prefix="florin-test-"))
    try:
        place.chmod(0o755)
        if user is not None:
            os.chown(place, user.uid, user.gid)
        data = place / "data"
        source = f"host=127.0.0.1 port={of.port} user=postgres application_name={name}"
        arguments = ["-D", str(data), "-d", source, "-R", "-C", "-S", name, "-X", "stream"]
        arguments += ["-c", "fast", "--no-sync"]
        said = account.run_as(user, [str(postgres.with_name("pg_basebackup")), *arguments])
        assert said.returncode == 0, said.stderr
        process, port = engine.start(postgres, data)
        try:
            yield engine.Server(port, data, process)
        finally:
            engine.stop(process)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def asked(server: engine.Server) -> list[tuple[str, str]]:
    """What a server was asked so far, as (application, statement): its own view."""
    found: list[tuple[str, str]] = []
    for line in (server.data.parent / "log").read_text("utf-8", "replace").splitlines():
        application, bar, rest = line.partition("|")
        if bar and (kind := rest.partition(": ")[2]) and rest.startswith("LOG"):
            found.append((application, kind.partition(": ")[2]))
        elif found and not bar:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
    return found
