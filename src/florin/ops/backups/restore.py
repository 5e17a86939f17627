"""Restore: bring the database to an instant, from a backup and the log since then.

The recovery runs on a copy next to the old data, without clients; then the copy replaces the data.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from florin.ops.backups import base_backup
from florin.ops.fleet.home import require_space
from florin.ops.postgres import wal_archive
from florin.ops.postgres.server import Postgres
from florin.ops.postgres.standby import read_control_file
from florin.ops.system import account_files, os_user
from florin.ops.system.console import OperatorError, timed
from florin.ops.system.quoting import postgres_command_word as quoted

_WITHIN_S = 24 * 3600
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})\.gz")


def restore_database(
    saved: Path, place: Path, server: Postgres, at: datetime | None, *, others: list[Path]
) -> Path | None:
    """Restore the database of a stopped fleet to an instant, or to the end of the log.

    `saved` is the directory of the backups, `place` that of the servers. Returns the directory of
    the old database, if there was one. Raises OperatorError; nothing has changed then.
    """
    os_user.make_private_dir(server.data.parent, server.account)
    before = server.data.with_name(
        f"{server.data.name}.before-{base_backup.backup_name(datetime.now(UTC))}"
    )
    made = server.data.with_name(f"{server.data.name}.restored")
    base = base_backup.latest_backup(base_backup.list_backups(saved, server.account), at)
    stores, own = [wal_archive.archive_dir(saved)], None
    if system_identifier(server) == system_identifier(replace(server, data=base.path)):
        # Segments that are not archived yet are in the old database's own log, if it still exists.
        stores += [wal_archive.archive_dir(place)] if saved != place else []
        own = server.data / "pg_wal"
    last = newest_segment_in(stores[0]) if at is None else ""
    with copied_backup(base, made, server):
        with recovered_server(stores, server, made, at, own=own):
            pass
        require_complete_recovery(server, made, last)
        was_there = server.data.exists()
        if was_there:
            account_files.move_account_file(server.data, before, server.account)
        account_files.move_account_file(made, server.data, server.account)
    for data in others:
        account_files.remove_account_files(data, server.account)  # replicas are copied again
    return before if was_there else None


def system_identifier(server: Postgres) -> str | None:
    """Return the identifier that a database, its replicas and its backups share."""
    return read_control_file(server).get("Database system identifier")


@contextlib.contextmanager
def copied_backup(base: base_backup.Backup, made: Path, server: Postgres) -> Generator[None]:
    """Copy a backup for a server to run on; afterwards the copy is removed unless it was moved."""
    require_space(made.parent, 300, "the restored database")
    account_files.remove_account_files(made, server.account)
    try:
        with timed(f"Copying the backup of {base.ended.isoformat()}"):
            account_files.copy_account_files(base.path, made, server.account)
        yield
    finally:
        account_files.remove_account_files(made, server.account)


@contextlib.contextmanager
def recovered_server(
    stores: list[Path],
    server: Postgres,
    made: Path,
    at: datetime | None,
    *,
    own: Path | None = None,
    light: bool = False,
) -> Generator[None]:
    """Run a server on the copy until its recovery is complete, then for the body of the context.

    `own` is a directory of uncompressed segments; `light` saves memory while other servers run.
    """
    # Not a pipe: one line per segment would fill it. Without a name: the account could replace it.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        child = _start(_options(stores, server, at, own=own, light=light), server, made, words)
        try:
            with timed("Replaying the log"):
                deadline = time.monotonic() + _WITHIN_S
                while not _took_over(server, made):
                    if child.poll() is not None or time.monotonic() > deadline:
                        words.seek(0)
                        raise OperatorError(_why_not(words.read()))
                    time.sleep(0.1)
            yield
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                child.wait(timeout=120)


def _took_over(server: Postgres, made: Path) -> bool:
    """Return whether recovery is complete: recovery.signal is removed before the end of it."""
    if (made / "recovery.signal").exists():
        return False
    said = read_control_file(replace(server, data=made))
    return said.get("Database cluster state") == "in production"


def _options(
    stores: list[Path], server: Postgres, at: datetime | None, *, own: Path | None, light: bool
) -> list[str]:
    lines = {
        "restore_command": restore_command(stores, own),
        "recovery_target_timeline": "latest",
        "recovery_target_action": "promote",
        "archive_mode": "off",
        "synchronous_standby_names": "",
        "primary_conninfo": "",
        "port": str(server.port),
    }
    if at is not None:
        lines["recovery_target_time"] = at.isoformat()
    if light:
        lines |= {"shared_buffers": "128MB", "fsync": "off"}
    return [word for name, value in lines.items() for word in ("-c", f"{name}={value}")]


def restore_command(stores: list[Path], own: Path | None) -> str:
    """Return the command that finds a segment: in one of the archives, else in `own`."""
    ways = [f'gunzip -c {quoted(store)}/%f.gz > "%p" 2>/dev/null' for store in stores]
    if own is not None:
        ways.append(f'cp {quoted(own)}/%f "%p"')
    return " || ".join(ways)


def _start(
    options: list[str], server: Postgres, made: Path, log: IO[str]
) -> "subprocess.Popen[Any]":
    account_files.write_account_file(made / "recovery.signal", b"", server.account)
    account_files.remove_account_files(made / "standby.signal", server.account)
    return subprocess.Popen(
        [str(server.program), "-D", str(made), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        cwd="/",
        env={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
        **({} if server.account is None else server.account.options()),
    )


def require_complete_recovery(server: Postgres, made: Path, newest: str) -> None:
    """Refuse a recovery without a clean shutdown, or one that ended before the newest segment.

    PostgreSQL treats a missing segment as the end of the log.
    """
    said = read_control_file(replace(server, data=made))
    state = said.get("Database cluster state", "none")
    if state != "shut down":
        raise OperatorError(f"The restored database was not shut down cleanly ({state}).")
    position = said["Latest checkpoint location"]
    high, low = (int(half, 16) for half in position.split("/"))
    found = _SEGMENT.fullmatch(newest)
    if found is None:
        return
    begins = (int(found[2], 16) << 32) + int(found[3], 16) * int(said["Bytes per WAL segment"])
    if (high << 32) + low < begins:
        raise OperatorError(
            f"A segment of the log is missing: it could only be replayed to {position}, but the"
            f" archive ends at {newest}. Put the missing segment back, or choose an instant before"
            " it (--at)."
        )


def newest_segment_in(store: Path) -> str:
    """Return the last segment of the latest timeline in a directory; empty if there is none."""
    return newest_segment(path.name for path in store.glob("*.gz"))


def newest_segment(names: Iterable[str]) -> str:
    return max(filter(_SEGMENT.fullmatch, names), default="")


def _why_not(output: str) -> str:
    if "before configured recovery target was reached" in output:
        return (
            "The log ends before the requested instant. Choose an earlier one, or leave out --at to"
            " restore to the end of the log."
        )
    lines = output.strip().splitlines()
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return f"The log could not be replayed: {(fatal or lines or ['no reason given'])[-1]}"
