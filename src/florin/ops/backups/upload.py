"""Upload: a backup and the log since then, from this machine into a bucket.

A database's own folder is named by its system identifier, so that two never mix: `base/` has each
backup as one packed file and, stored last, what describes it; `wal/` the segments of the log.
"""

import contextlib
import hashlib
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from florin.ops.backups import base_backup, status
from florin.ops.backups.base_backup import Backup
from florin.ops.backups.restore import system_identifier
from florin.ops.backups.s3 import Bucket, open_bucket
from florin.ops.fleet.home import Home
from florin.ops.fleet.options import UpOptions
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
    """What stands beside a packed backup; without it there is no backup."""

    ended: datetime
    first: str  # the segment of the log that it begins with
    bytes: int
    sha256: str

    @property
    def place(self) -> tuple[str, datetime]:
        """Where it begins in the log: in this order they were taken, whatever the clock said."""
        return self.first[8:], self.ended


def folder_of(server: Postgres) -> str:
    """Where in the bucket the server's database is. Raises OperatorError where it has none."""
    found = system_identifier(server)
    if found is None:
        raise OperatorError(f"{server.data} holds no database.")
    return found


def upload_backup(bucket: Bucket, backup: Backup, account: OsAccount | None) -> BackupManifest:
    """Store a backup of the account's, packed. `bucket` is the database's own folder."""
    expected = sum(path.stat().st_size for path in backup.path.rglob("*") if path.is_file())
    pack = subprocess.Popen(
        ["tar", "-C", str(backup.path), "-cf", "-", "."],
        stdout=subprocess.PIPE,
        cwd="/",  # where we are may be closed to the account
        **({} if account is None else account.options()),
    )
    squeeze = subprocess.Popen(["gzip", "-1"], stdin=pack.stdout, stdout=subprocess.PIPE)
    assert pack.stdout is not None
    assert squeeze.stdout is not None
    pack.stdout.close()  # the one who squeezes holds it
    packed = _Counted(squeeze.stdout)
    base = bucket.below("base")
    try:
        with timed(f"Storing it in s3://{bucket.name}"):
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
    """Drop older backups there, and of the log what the oldest that is kept does not need."""
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
        # What describes it first: nobody may find it who could not get it any more.
        base.drop([name])
        base.drop([f"{name.removesuffix('.json')}.tar.gz"])
    first = described[known[-keep]].first
    log.drop([name for name in log.names() if base_backup.is_older_segment(name, first)])


def upload_segments(place: Path, bucket: Bucket, there: set[str], account: OsAccount | None) -> int:
    """Pass on what was archived and is not `there` yet, the oldest first; add it; say how much."""
    waiting = sorted(
        path for path in wal_archive.archive_dir(place).glob("*.gz") if path.name not in there
    )
    log = bucket.below("wal")
    for path in waiting:
        try:
            with account_files.opened(path, account) as file:
                log.put(path.name, file)
        except FileNotFoundError:
            continue  # no backup needs it any more
        there.add(path.name)
    return len(waiting)


class SegmentUploader:
    """Passes the log on for as long as the fleet runs; in a thread that no stop waits for."""

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
        """Pass on the rest, once the servers have stopped; not where it failed anyway."""
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
                say(f"The log is not passed on: {why}")
            self._why = why
            with contextlib.suppress(OperatorError, OSError):
                status.record_failure(self._home, "shipped", self._why)


def start_uploader(options: UpOptions, members: ReplicaSet | None) -> SegmentUploader | None:
    """Begin to pass on the log of the fleet's own servers; None where there is nowhere to."""
    place = options.home.layout().data_dir
    if members is None or place is None:
        return None
    try:
        bucket = open_bucket(options.given)
        if bucket is None:
            return None
        # From now on, whether a backup was taken or not: a database that was restored goes on.
        os_user.make_private_dir(wal_archive.archive_dir(Path(place)), members.primary().account)
    except OperatorError as error:  # told, and no reason to stop what serves
        say(f"The log is not passed on: {error}")
        with contextlib.suppress(OperatorError):
            status.record_failure(options.home, "shipped", str(error))
        return None
    shipping = SegmentUploader(options.home, Path(place), bucket, members)
    shipping.start()
    return shipping


class _Counted:
    """A stream, counted and summed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.count += len(content)
        self.digest.update(content)
        return content
