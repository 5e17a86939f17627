"""Backups: copies of the database and the log since then, and the database as it was at an instant.

The log is archived segment by segment, once a minute at least while anything is written, as soon
as there is an archive: the first backup makes it. A restore runs to its end by itself, on the side
of what was there, and leaves that beside it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from florin.ops.engines import account, postgres
from florin.ops.engines.follow import control
from florin.ops.engines.postgres import Postgres
from florin.ops.home import require_space, write
from florin.ops.tell import Unable, timed

_STAMP = "%Y%m%dT%H%M%SZ"
_COPY_WITHIN_S = 24 * 3600
_RECOVER_WITHIN_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Backup:
    """A base backup: `ended` is the earliest instant it can be brought to."""

    path: Path
    ended: datetime


def archive(place: Path) -> Path:
    return place / "archive"


def settings(place: Path) -> dict[str, str]:
    """How a server archives its log: nowhere, until a backup has made the archive."""
    folder = archive(place)
    part, kept = f"{folder}/.%f.part", f"{folder}/%f.gz"
    store = f'gzip -1 -c "%p" > "{part}" && mv "{part}" "{kept}"'
    return {
        "archive_mode": "on",
        "archive_command": f'test ! -d "{folder}" || test -f "{kept}" || ({store})',
        "archive_timeout": "60s",
    }


def backups(place: Path) -> list[Backup]:
    """The backups that are whole, oldest first."""
    found: list[Backup] = []
    for path in sorted((place / "backups").glob("*")):
        with contextlib.suppress(ValueError):
            ended = datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC)
            found.append(Backup(path, ended))
    return found


def take(place: Path, primary: Postgres, *, keep: int) -> Backup:
    """Copy the running database, check the copy, drop older ones beyond `keep`."""
    for folder in (archive(place), place / "backups"):
        account.private(folder, primary.account)
    require_space(place, 300, "a backup")
    partial = place / "backups" / "new"
    shutil.rmtree(partial, ignore_errors=True)
    with timed("Copying the database"):
        copy = [
            "-D",
            str(partial),
            "-X",
            "stream",
            "-c",
            "fast",
            "--manifest-checksums=SHA256",
            "-U",
            postgres.REPLICA,
            "-w",
        ]
        said = account.run_as(
            primary.account,
            [_program(primary, "pg_basebackup"), *copy, "-h", "127.0.0.1", "-p", f"{primary.port}"],
            within_s=_COPY_WITHIN_S,
            more={"PGPASSWORD": primary.secrets["REPLICA_PASSWORD"]},
        )
    if said.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise Unable(f"No backup could be taken: {_last(said.stderr)}")
    with timed("Checking the copy"):
        _check(partial)
    ended = datetime.now(UTC).replace(microsecond=0)
    made = Backup(partial.with_name(ended.strftime(_STAMP)), ended)
    partial.rename(made.path)
    for old in backups(place)[:-keep]:
        shutil.rmtree(old.path, ignore_errors=True)
    _prune(place)
    return made


def _check(copy: Path) -> None:
    """Compare every file with the manifest. Not pg_verifybackup: the wheel's crashes."""
    manifest = json.loads((copy / "backup_manifest").read_bytes())
    for entry in manifest["Files"]:
        path = copy / entry["Path"]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry["Checksum"]:
            raise Unable(f"{path} is not what was copied; take another backup.")


def _prune(place: Path) -> None:
    """Drop what the log of the oldest backup does not need any more."""
    oldest = backups(place)[0]
    label = (oldest.path / "backup_label").read_text("utf-8")
    first = label.partition("(file ")[2].partition(")")[0]
    for segment in archive(place).glob("*.gz"):
        name = segment.name.removesuffix(".gz")
        # Without its timeline: a segment of an earlier one goes with its equals.
        if len(name) == len(first) and name[8:] < first[8:]:
            segment.unlink(missing_ok=True)


def restore(place: Path, server: Postgres, at: datetime | None, *, others: list[Path]) -> Path:
    """Bring the database of a stopped fleet to an instant, or to the end of the log.

    Returns where the database as it was before lies now. Raises Unable, all being as it was.
    """
    fit = [backup for backup in backups(place) if at is None or backup.ended <= at]
    if not fit:
        first = backups(place)[0].ended.isoformat() if backups(place) else "none was taken yet"
        raise Unable(f"No backup is older than that instant; the first: {first}.")
    base = fit[-1]
    stamp = datetime.now(UTC).strftime(_STAMP)
    made = server.data.with_name(f"{server.data.name}.restored")
    before = server.data.with_name(f"{server.data.name}.before-{stamp}")
    require_space(place, 300, "the restored database")
    with timed(f"Copying the backup of {base.ended.isoformat()}"):
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(base.path, made, symlinks=True)
        _give(made, server)
    with timed("Replaying the log"):
        _recover(place, server, made, at)
    if server.data.exists():
        server.data.rename(before)
    made.rename(server.data)
    for data in others:
        shutil.rmtree(data, ignore_errors=True)  # they are copied anew
    return before


def _recover(place: Path, server: Postgres, made: Path, at: datetime | None) -> None:
    """Run a server on the copy, away from everybody, until it has become a primary."""
    folder, own = archive(place), server.data / "pg_wal"
    unpack = f'gunzip -c "{folder}/%f.gz" > "%p" 2>/dev/null || cp "{own}/%f" "%p"'
    lines = {
        "restore_command": unpack,
        "recovery_target_timeline": "latest",
        "recovery_target_action": "promote",
        "archive_mode": "off",
        "synchronous_standby_names": "",
        "primary_conninfo": "",
        "port": str(server.port),
    }
    if at is not None:
        lines["recovery_target_time"] = at.isoformat()
    options = [word for name, value in lines.items() for word in ("-c", f"{name}={value}")]
    write(made / "recovery.signal", b"")
    (made / "standby.signal").unlink(missing_ok=True)
    _give(made, server)
    child: subprocess.Popen[Any] = subprocess.Popen(
        [str(server.program), "-D", str(made), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
        text=True,
        **({} if server.account is None else server.account.options()),
    )
    try:
        deadline = time.monotonic() + _RECOVER_WITHIN_S
        while (made / "recovery.signal").exists():
            if child.poll() is not None or time.monotonic() > deadline:
                _, words = child.communicate()
                raise Unable(_why_not(words))
            time.sleep(0.1)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=120)
    state = control_of(server, made)
    if state != "shut down":
        raise Unable(f"The restored database did not end in order ({state}); it lies in {made}.")


def control_of(server: Postgres, data: Path) -> str:
    from dataclasses import replace

    return control(replace(server, data=data)).get("Database cluster state", "none")


def _give(folder: Path, server: Postgres) -> None:
    if server.account is None:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, server.account.uid, server.account.gid, follow_symlinks=False)


def _why_not(words: str) -> str:
    if "before configured recovery target was reached" in words:
        return (
            "The log ends before that instant; choose an earlier one, or leave --at out for all"
            " that there is."
        )
    fatal = [line for line in words.splitlines() if "FATAL" in line or "PANIC" in line]
    return f"The log could not be replayed: {(fatal or [_last(words)])[-1]}"


def _program(server: Postgres, name: str) -> str:
    return str(server.program.with_name(name))


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["no reason given"])[-1]


__all__ = ["Backup", "archive", "backups", "restore", "settings", "take"]
