"""Upload: store backups and log segments in a bucket.

Each database has a folder named by its system identifier, so that two never mix: `base/` has each
backup as one packed file and its manifest, which is stored last; `wal/` has the log segments.
"""

import contextlib
import hashlib
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from florin.ops.backups import base_backup, status
from florin.ops.backups.base_backup import Backup
from florin.ops.backups.restore import system_identifier
from florin.ops.backups.s3 import Bucket, open_bucket
from florin.ops.fleet.home import Home
from florin.ops.postgres import wal_archive
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.postgres.server import Postgres
from florin.ops.supervisor.watchdog import described
from florin.ops.system import account_files, os_user
from florin.ops.system.console import OperatorError, say, timed
from florin.ops.system.os_user import OsAccount

SHIP_EVERY_S = 5.0
_NOTE_EVERY_S = 30.0
_JOIN_WITHIN_S = 30.0


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a packed backup; a backup without one is incomplete and ignored."""

    ended: datetime
    first: str  # the log segment that it begins with
    bytes: int
    sha256: str

    @property
    def place(self) -> tuple[str, datetime]:
        """Return the position in the log: the order of the backups, independent of the clock."""
        return self.first[8:], self.ended


def folder_of(server: Postgres) -> str:
    """Return the folder of the server's database in the bucket. Raises OperatorError."""
    identifier = system_identifier(server)
    if identifier is None:
        raise OperatorError(f"{server.data} contains no database.")
    return identifier


def upload_backup(bucket: Bucket, backup: Backup, account: OsAccount | None) -> BackupManifest:
    """Pack and store a backup. `bucket` is the folder of its database. Raises OperatorError."""
    expected = sum(path.stat().st_size for path in backup.path.rglob("*") if path.is_file())
    pack = subprocess.Popen(
        ["tar", "-C", str(backup.path), "-cf", "-", "."],
        stdout=subprocess.PIPE,
        cwd="/",  # the account may not be able to enter the current directory
        **({} if account is None else account.options()),
    )
    squeeze = subprocess.Popen(["gzip", "-1"], stdin=pack.stdout, stdout=subprocess.PIPE)
    assert pack.stdout is not None
    assert squeeze.stdout is not None
    pack.stdout.close()  # gzip has its own copy of the descriptor
    packed = _Counted(squeeze.stdout)
    base = bucket.below("base")
    try:
        with timed(f"Uploading the backup to s3://{bucket.name}"):
            base.stream(f"{backup.path.name}.tar.gz", packed, expected=expected)
    finally:
        squeeze.stdout.close()
        codes = [child.wait() for child in (squeeze, pack)]
    if any(codes):
        raise OperatorError(f"{backup.path} could not be packed (tar and gzip ended with {codes}).")
    described = BackupManifest(
        ended=backup.ended,
        first=base_backup.first_segment(backup, account),
        bytes=packed.count,
        sha256=packed.digest.hexdigest(),
    )
    base.write(f"{backup.path.name}.json", msgspec.json.encode(described))
    return described


def prune_uploads(bucket: Bucket, *, keep: int) -> None:
    """Delete all but the newest `keep` backups in the bucket, and log segments no longer needed."""
    base, log = bucket.below("base"), bucket.below("wal")
    described = {
        name: msgspec.json.decode(base.read(name), type=BackupManifest)
        for name in base.names()
        if name.endswith(".json")
    }
    known = sorted(described, key=lambda name: described[name].place)
    if len(known) <= keep:
        return
    for name in known[:-keep]:
        # The manifest first: a backup that is listed must be complete.
        base.drop([name])
        base.drop([f"{name.removesuffix('.json')}.tar.gz"])
    first = described[known[-keep]].first
    log.drop([name for name in log.names() if base_backup.is_older_segment(name, first)])


def upload_segments(place: Path, bucket: Bucket, there: set[str], account: OsAccount | None) -> int:
    """Upload archived segments that are not in `there`, oldest first; return how many.

    Adds each uploaded name to `there`.
    """
    waiting = sorted(
        path for path in wal_archive.archive_dir(place).glob("*.gz") if path.name not in there
    )
    log = bucket.below("wal")
    for path in waiting:
        try:
            with account_files.open_account_file(path, account) as file:
                log.put(path.name, file)
        except FileNotFoundError:
            continue  # it was pruned: no backup needs it
        there.add(path.name)
    return len(waiting)


class SegmentUploader:
    """Uploads log segments while the fleet runs, in a daemon thread."""

    def __init__(self, home: Home, place: Path, bucket: Bucket, members: ReplicaSet) -> None:
        self._home, self._place, self._members = home, place, members
        self._bucket = bucket
        self._own: Bucket | None = None
        self._there = set[str]()
        self._why = ""
        self._noted = 0.0
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Upload the remaining segments after the servers have stopped, unless uploads fail."""
        self._halt.set()
        self._thread.join(_JOIN_WITHIN_S)
        if not self._thread.is_alive() and not self._why:
            self._noted = 0.0
            self._once()

    def _run(self) -> None:
        while not self._halt.wait(SHIP_EVERY_S):
            self._once()

    def _once(self) -> None:
        try:
            if self._own is None:
                own = self._bucket.below(folder_of(self._members.primary()))
                self._there = set(own.below("wal").names())
                self._own = own
            upload_segments(self._place, self._own, self._there, self._members.primary().account)
            if self._why or time.monotonic() - self._noted > _NOTE_EVERY_S:
                status.record_success(self._home, "shipped")
                self._noted = time.monotonic()
            self._why = ""
        except Exception as error:  # noqa: BLE001 -- no error may end the thread
            expected = isinstance(error, OperatorError | OSError)
            why = str(error) if expected else described(error)
            if why != self._why:
                say(f"Log segments are not uploaded to BACKUP_URL: {why}")
            self._why = why
            with contextlib.suppress(OperatorError, OSError):
                status.record_failure(self._home, "shipped", self._why)


def start_uploader(
    home: Home, given: Callable[[str], str | None], members: ReplicaSet | None
) -> SegmentUploader | None:
    """Start to upload the log of the fleet's own servers; None if there is no bucket.

    `given` returns the value of a variable.
    """
    place = home.layout().data_dir
    if members is None or place is None:
        return None
    try:
        bucket = open_bucket(given)
        if bucket is None:
            return None
        # The archive is created even before the first backup: a restored database needs it at once.
        os_user.make_private_dir(wal_archive.archive_dir(Path(place)), members.primary().account)
    except OperatorError as error:  # reported only: the fleet must start anyway
        say(f"Log segments are not uploaded to BACKUP_URL: {error}")
        with contextlib.suppress(OperatorError):
            status.record_failure(home, "shipped", str(error))
        return None
    shipping = SegmentUploader(home, Path(place), bucket, members)
    shipping.start()
    return shipping


class _Counted:
    """A stream that counts and hashes the bytes read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.count += len(content)
        self.digest.update(content)
        return content
