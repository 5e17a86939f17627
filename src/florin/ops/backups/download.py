"""Download: fetch a backup and the log since then from a bucket, for a restore."""

import hashlib
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import msgspec

from florin.ops.backups import base_backup
from florin.ops.backups.base_backup import Backup
from florin.ops.backups.s3 import Bucket
from florin.ops.backups.upload import BackupManifest
from florin.ops.fleet.home import require_space
from florin.ops.postgres import wal_archive
from florin.ops.system import os_user
from florin.ops.system.console import OperatorError, timed
from florin.ops.system.os_user import OsAccount

_AT_ONCE = 8
_MB = 2**20


def find_database_folder(bucket: Bucket, wanted: str | None) -> Bucket:
    """Return the folder of one database. Raises OperatorError if there are several to choose."""
    known = bucket.folders()
    if wanted is not None and wanted in known:
        return bucket.below(wanted)
    where = f"s3://{bucket.name}/{bucket.prefix}"
    if wanted is not None:
        others = f"; it has backups of {', '.join(known)}" if known else ""
        raise OperatorError(f"{where} has no backup of the database {wanted}{others}.")
    if not known:
        raise OperatorError(f"{where} has no backup.")
    if len(known) > 1:
        raise OperatorError(
            f"{where} has backups of several databases: {', '.join(known)}. Choose one with"
            " --database."
        )
    return bucket.below(known[0])


def fetch_backup(bucket: Bucket, at: datetime | None, into: Path, user: OsAccount | None) -> Path:
    """Fetch what a restore to `at` needs into a directory of the account; return it."""
    shutil.rmtree(into, ignore_errors=True)
    for folder in (into, into / "backups", wal_archive.archive_dir(into)):
        os_user.make_private_dir(folder, None)  # root's until the download is complete
    base = bucket.below("base")
    named = {name.removesuffix(".json"): name for name in base.names() if name.endswith(".json")}
    all_described = {
        stem: msgspec.json.decode(base.read(name), type=BackupManifest)
        for stem, name in named.items()
    }
    stems = sorted(all_described, key=lambda stem: all_described[stem].place)
    known = [
        Backup(into / stem, ended) for stem in stems if (ended := base_backup.backup_instant(stem))
    ]
    chosen = base_backup.latest_backup(known, at).path.name
    described = all_described[chosen]
    require_space(into, 300 + 2 * described.bytes // _MB, "the backup")
    with timed(f"Fetching the backup of {described.ended.isoformat()}"):
        _unpack(base, chosen, described, into)
    log = bucket.below("wal")
    wanted = [
        name for name in log.names() if not base_backup.is_older_segment(name, described.first)
    ]
    paths = [wal_archive.archive_dir(into) / name for name in wanted]
    with timed(f"Fetching {len(wanted)} log segments"), ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(log.get, wanted, paths))
    os_user.give_ownership(into, user)
    return into


def _unpack(base: Bucket, name: str, described: BackupManifest, into: Path) -> None:
    packed = into / f"{name}.tar.gz"
    base.get(packed.name, packed)
    with packed.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != described.sha256:
        raise OperatorError(
            f"{packed.name} is corrupt: its checksum is wrong. Choose an earlier instant (--at)."
        )
    target = into / "backups" / name
    target.mkdir(mode=0o700)
    said = subprocess.run(
        ["tar", "-xzf", str(packed), "-C", str(target), "--no-same-owner"],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise OperatorError(f"{packed.name} could not be unpacked: {said.stderr.strip()[-200:]}")
    packed.unlink()
