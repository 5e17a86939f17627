"""Base backup: copies of the database, and the log since then.

The log is archived segment by segment, twice a minute while anything is written, as soon as there
is an archive: the first backup makes it. `recovery` goes the way back.
"""

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from florin.ops.fleet.home import require_space
from florin.ops.postgres import server as postgres
from florin.ops.postgres.server import Postgres
from florin.ops.postgres.wal_archive import archive_dir
from florin.ops.system import account_files, os_user
from florin.ops.system.console import OperatorError, timed
from florin.ops.system.os_user import OsAccount

_STAMP = "%Y%m%dT%H%M%SZ"
_COPY_WITHIN_S = 24 * 3600
_PART_OLD_S = 3600


@dataclass(frozen=True, slots=True)
class Backup:
    """A base backup: `ended` is the earliest instant it can be brought to."""

    path: Path
    ended: datetime


def list_backups(place: Path, account: OsAccount | None) -> list[Backup]:
    """The backups that are whole, oldest first.

    By their place in the log: a clock that was set back names a later one by an earlier instant.
    """
    paths = (place / "backups").glob("*")
    whole = [
        Backup(path, ended) for path in paths if (ended := backup_instant(path.name)) is not None
    ]

    def order(backup: Backup) -> tuple[str, datetime]:
        return first_segment(backup, account)[8:], backup.ended

    return sorted(whole, key=order)


def backup_name(ended: datetime) -> str:
    """What a backup that ended then is called."""
    return ended.strftime(_STAMP)


def backup_instant(name: str) -> datetime | None:
    """When a backup of that name ended; None for what is none."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(name, _STAMP).replace(tzinfo=UTC)
    return None


def latest_backup(known: list[Backup], at: datetime | None) -> Backup:
    """The backup from which that instant is reached soonest. Raises OperatorError where there is
    none.
    """
    fit = [backup for backup in known if at is None or backup.ended <= at]
    if not fit:
        first = known[0].ended.isoformat() if known else "none was taken yet"
        raise OperatorError(f"No backup is older than that instant; the first: {first}.")
    return fit[-1]


def take_backup(place: Path, primary: Postgres) -> Backup:
    """Copy the running database and check the copy. Raises OperatorError, nothing being left of
    it.
    """
    for folder in (archive_dir(place), place / "backups"):
        os_user.make_private_dir(folder, primary.account)
    require_space(place, 300, "a backup")
    partial = place / "backups" / "new"
    account_files.remove(partial, primary.account)
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
        said = os_user.run_as(
            primary.account,
            [_program(primary, "pg_basebackup"), *copy, "-h", "127.0.0.1", "-p", f"{primary.port}"],
            within_s=_COPY_WITHIN_S,
            more={"PGPASSWORD": primary.secrets["REPLICA_PASSWORD"]},
        )
    if said.returncode != 0:
        account_files.remove(partial, primary.account)
        raise OperatorError(f"No backup could be taken: {os_user.error_in(said.stderr)}")
    with timed("Checking the copy"):
        _check(partial, primary.account)
    ended = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)  # not before its end
    made = Backup(partial.with_name(backup_name(ended)), ended)
    account_files.move(partial, made.path, primary.account)
    return made


def _check(copy: Path, account: OsAccount | None) -> None:
    """Compare every file with the manifest. Not pg_verifybackup: the wheel's crashes."""
    manifest = json.loads(account_files.read(copy / "backup_manifest", account))
    for entry in manifest["Files"]:
        path = copy / entry["Path"]
        with account_files.opened(path, account) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry["Checksum"]:
            raise OperatorError(f"{path} is not what was copied; take another backup.")


def prune_backups(place: Path, account: OsAccount | None, *, keep: int) -> None:
    """Drop older backups, and of the log what the oldest that is kept does not need."""
    for old in list_backups(place, account)[:-keep]:
        account_files.remove(old.path, account)
    first = first_segment(list_backups(place, account)[0], account)
    for segment in archive_dir(place).glob("*.gz"):
        if is_older_segment(segment.name, first):
            segment.unlink(missing_ok=True)
    for part in archive_dir(place).glob(".*.part"):  # of a server that was killed over it
        if time.time() - part.stat().st_mtime > _PART_OLD_S:
            part.unlink(missing_ok=True)


def first_segment(backup: Backup, account: OsAccount | None) -> str:
    """The segment of the log that a backup begins with."""
    try:
        label = account_files.read(backup.path / "backup_label", account)
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{backup.path} is no whole backup ({error}); remove it, or put it back from a copy."
        ) from None
    return label.partition("(file ")[2].partition(")")[0]


def is_older_segment(stored: str, first: str) -> bool:
    """Whether this part of an archive is a segment before that one.

    Without its timeline: a segment of an earlier one goes with its equals.
    """
    name = stored.removesuffix(".gz")
    return len(name) == len(first) and name[8:] < first[8:]


def _program(server: Postgres, name: str) -> str:
    return str(server.program.with_name(name))
