"""Base backup: take, list and prune copies of the database; a restore also needs the log since.

The first backup creates the archive of the log. From then on segments are archived, at least twice
a minute while there are writes. `restore` is the reverse.
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
    """A base backup; `ended` is the earliest instant that it can be restored to."""

    path: Path
    ended: datetime


def list_backups(place: Path, account: OsAccount | None) -> list[Backup]:
    """Return the complete backups, oldest first.

    Sorted by position in the log: after the clock was set back a later backup has an earlier name.
    """
    paths = (place / "backups").glob("*")
    whole = [
        Backup(path, ended) for path in paths if (ended := backup_instant(path.name)) is not None
    ]

    def order(backup: Backup) -> tuple[str, datetime]:
        return first_segment(backup, account)[8:], backup.ended

    return sorted(whole, key=order)


def backup_name(ended: datetime) -> str:
    """Return the name of a backup that ended at that instant."""
    return ended.strftime(_STAMP)


def backup_instant(name: str) -> datetime | None:
    """Return when the backup of that name ended; None if it is not the name of a backup."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(name, _STAMP).replace(tzinfo=UTC)
    return None


def latest_backup(known: list[Backup], at: datetime | None) -> Backup:
    """Return the latest backup before `at`. Raises OperatorError when there is none."""
    fit = [backup for backup in known if at is None or backup.ended <= at]
    if not fit:
        first = f"the first is from {known[0].ended.isoformat()}" if known else "there are none yet"
        raise OperatorError(f"No backup is older than the requested instant: {first}.")
    return fit[-1]


def take_backup(place: Path, primary: Postgres) -> Backup:
    """Copy the running database and verify the copy.

    Raises OperatorError; no partial backup is left then.
    """
    for folder in (archive_dir(place), place / "backups"):
        os_user.make_private_dir(folder, primary.account)
    require_space(place, 300, "a backup")
    partial = place / "backups" / "new"
    account_files.remove_account_files(partial, primary.account)
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
        account_files.remove_account_files(partial, primary.account)
        raise OperatorError(f"No backup could be taken: {os_user.error_in(said.stderr)}")
    with timed("Verifying the copy"):
        _check(partial, primary.account)
    ended = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)  # not before its end
    made = Backup(partial.with_name(backup_name(ended)), ended)
    account_files.move_account_file(partial, made.path, primary.account)
    return made


def _check(copy: Path, account: OsAccount | None) -> None:
    """Compare every file with the manifest. The packaged pg_verifybackup crashes, so not that."""
    manifest = json.loads(account_files.read_account_file(copy / "backup_manifest", account))
    for entry in manifest["Files"]:
        path = copy / entry["Path"]
        with account_files.open_account_file(path, account) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry["Checksum"]:
            raise OperatorError(f"{path} is corrupt: its checksum is wrong. Take another backup.")


def prune_backups(place: Path, account: OsAccount | None, *, keep: int) -> None:
    """Remove all but the newest `keep` backups, and the log segments that they do not need."""
    for old in list_backups(place, account)[:-keep]:
        account_files.remove_account_files(old.path, account)
    first = first_segment(list_backups(place, account)[0], account)
    for segment in archive_dir(place).glob("*.gz"):
        if is_older_segment(segment.name, first):
            segment.unlink(missing_ok=True)
    for part in archive_dir(place).glob(".*.part"):  # left by a killed archive command
        if time.time() - part.stat().st_mtime > _PART_OLD_S:
            part.unlink(missing_ok=True)


def first_segment(backup: Backup, account: OsAccount | None) -> str:
    """Return the log segment that a backup begins with. Raises OperatorError."""
    try:
        label = account_files.read_account_file(backup.path / "backup_label", account)
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{backup.path} is not a complete backup ({error}). Remove it, or restore it from a"
            " copy."
        ) from None
    return label.partition("(file ")[2].partition(")")[0]


def is_older_segment(stored: str, first: str) -> bool:
    """Return whether an archived segment is older than the segment `first`.

    Timelines are ignored: segments of an earlier timeline are pruned by position as well.
    """
    name = stored.removesuffix(".gz")
    return len(name) == len(first) and name[8:] < first[8:]


def _program(server: Postgres, name: str) -> str:
    return str(server.program.with_name(name))
