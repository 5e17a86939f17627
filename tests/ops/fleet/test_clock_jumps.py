"""Clock jumps: decisions about processes, backups and alarms stay right when the clock is set."""

import asyncio
import os
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from florin.ops.backups import base_backup, status, upload
from florin.ops.backups.status import BackupOutcome
from florin.ops.backups.upload import BackupManifest
from florin.ops.fleet.home import Home
from florin.ops.fleet.pid_files import pid_file, recorded_process
from florin.ops.supervisor.launch import Launch, launch_process
from florin.ops.system import processes
from tests.ops.conftest import until
from tests.support import s3_storage

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.mark.parametrize("by_s", [-DAY_S, DAY_S])
def test_a_part_that_was_just_started_is_found_after_a_clock_jump(
    tmp_path: Path, by_s: float
) -> None:
    """A supervisor was killed between a start and its record: no second process may start."""
    home = Home(tmp_path)
    home.make()
    environ = {"PATH": "/bin:/usr/bin"}
    started = launch_process(home, Launch(name="api-1", argv=("sleep", "60"), environ=environ))
    process = started.process
    assert process is not None
    try:
        path = pid_file(home, "api-1")
        until(lambda: path.read_text("utf-8").endswith("\n"), "the pid file")
        written = path.stat().st_mtime
        # Moving the file's time forward equals moving all other times back.
        os.utime(path, (written + by_s, written + by_s))
        assert recorded_process(home, "api-1") == process
        # The pid is reused by a process that started at another time.
        number, _, stat = path.read_text("utf-8").partition(" ")
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        fields[19] = str(int(fields[19]) - 1)
        path.write_text(f"{number} {head}) {' '.join(fields)}\n", "utf-8")
        assert recorded_process(home, "api-1") is None
    finally:
        processes.send_signal(process, signal.SIGKILL)
        asyncio.run(processes.wait_gone(process))
        assert started.ending() == "signal 9"


def backed_up(place: Path, ended: datetime, segment: str) -> Path:
    path = place / "backups" / base_backup.backup_name(ended)
    path.mkdir(parents=True)
    label = f"START WAL LOCATION: 0/2000028 (file {segment})\n"
    (path / "backup_label").write_text(label, "utf-8")
    return path


def test_a_backup_taken_after_the_clock_was_set_back_is_the_latest(tmp_path: Path) -> None:
    early = backed_up(tmp_path, NOW + timedelta(days=400), "0000000100000000000000A0")
    late = backed_up(tmp_path, NOW, "0000000100000000000000B0")
    archive = tmp_path / "archive"
    archive.mkdir()
    for segment in ("0000000100000000000000A5", "0000000100000000000000B0"):
        (archive / f"{segment}.gz").touch()
    known = base_backup.list_backups(tmp_path, None)
    assert base_backup.latest_backup(known, None).path == late
    base_backup.prune_backups(tmp_path, None, keep=1)
    assert late.exists()
    assert not early.exists()
    assert [path.name for path in archive.iterdir()] == ["0000000100000000000000B0.gz"]
    shutil.rmtree(late)


def test_a_backup_in_a_bucket_after_the_clock_was_set_back_is_the_latest() -> None:
    with s3_storage.storage() as stored:
        bucket = stored.bucket()
        base = bucket.below("base")
        for ended, segment in ((NOW + timedelta(days=400), "A0"), (NOW, "B0")):
            name = base_backup.backup_name(ended)
            first = f"0000000100000000000000{segment}"
            described = BackupManifest(ended=ended, first=first, bytes=1, sha256="")
            base.write(f"{name}.json", msgspec.json.encode(described))
            base.write(f"{name}.tar.gz", b"")
        upload.prune_uploads(bucket, keep=1)
        late = base_backup.backup_name(NOW)
        assert base.names() == [f"{late}.json", f"{late}.tar.gz"]


def test_a_success_in_the_future_does_not_count() -> None:
    """Otherwise no backup would be overdue until the clock reaches that time again."""
    now = NOW.timestamp()
    found: dict[status.What, BackupOutcome] = {
        what: BackupOutcome(at=now + DAY_S, tried=now + DAY_S) for what in status.WHATS
    }
    wrong = status.failing_backups(found, now)
    assert set(wrong) == set(status.WHATS)
    assert "the clock was set back" in wrong["taken"]
    fine: dict[status.What, BackupOutcome] = {
        what: BackupOutcome(at=now + 1, tried=now + 1) for what in status.WHATS
    }
    assert status.failing_backups(fine, now) == {}
