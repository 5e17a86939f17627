"""Rotation: moves the older part of a log file into an archive while its part goes on writing.

The parts inherit the open file, so it can be neither renamed nor replaced. Linux removes the first
blocks of a file in one step (fallocate, FALLOC_FL_COLLAPSE_RANGE: ext4, XFS): what is appended
meanwhile stays, so no line is lost, split or written twice. On other file systems the rest is
copied and the file truncated; a line that is written between these two steps is lost.
"""

import ctypes
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from florin.kit.settings.process import FleetSettings
from florin.ops.fleet.home import Home
from florin.ops.system.console import OperatorError

_COLLAPSE_RANGE = 0x08  # <linux/falloc.h>
_LINE_MAX = 2**20  # bytes in which a line's end is looked for
_MB = 2**20


@dataclass(frozen=True, slots=True)
class RotationLimits:
    """A log is rotated from `size` bytes on; `kept` archives remain: NAME.log.1 is the newest."""

    size: int
    kept: int


def rotation_limits(environ: Mapping[str, str]) -> RotationLimits:
    """Read FLORIN_LOG_MAX_MB and FLORIN_LOG_ARCHIVES. Raises OperatorError."""
    names = ("FLORIN_LOG_MAX_MB", "FLORIN_LOG_ARCHIVES")
    try:
        settings = FleetSettings.model_validate({n: environ[n] for n in names if environ.get(n)})
    except ValidationError as error:
        [first, *_] = error.errors()
        raise OperatorError(f"{first['loc'][0]}: {first['msg']}.") from None
    return RotationLimits(settings.log_max_mb * _MB, settings.log_archives)


def rotate_logs(home: Home, environ: Mapping[str, str]) -> None:
    """Rotate every log of the home that exceeds the limit of the settings."""
    limits = rotation_limits(environ)
    for log in home.logs.glob("*.log"):
        rotate_log(log, limits)


def rotate_log(log: Path, limits: RotationLimits) -> bool:
    """Archive the complete lines of a log that exceeds the limit; return whether it did.

    A failure, such as a full disk or a reader that just reads, changes nothing; the next call tries
    again.
    """
    partial = log.with_name(f".{log.name}.partial")
    try:
        if log.stat().st_size < limits.size:
            return False
        with log.open("r+b", buffering=0) as file:
            end = _last_line_end(file.fileno())
            if not end:
                return False
            _remove_archives(log, limits.kept)  # its space may be what the new one needs
            _copy(file.fileno(), partial, end)
            # Until the archive has its name, no reader may read: see reading.LogTail.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _remove_start(file.fileno(), end):
                _truncate(file.fileno(), partial, end)
            _shift_archives(log, limits.kept)
            partial.replace(archive(log, 1))
    except OSError:
        partial.unlink(missing_ok=True)
        return False
    return True


def archive(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def archives(log: Path) -> list[Path]:
    """Return the archives of a log, the oldest first."""
    found = [
        (int(suffix), path)
        for path in log.parent.glob(f"{log.name}.*")
        if (suffix := path.name.removeprefix(f"{log.name}.")).isdigit()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def removed_bytes(archived: int, block: int) -> int:
    """Return by how many bytes positions in the log moved when `archived` bytes were archived."""
    return archived // block * block


def block_size(file: int) -> int:
    return os.fstatvfs(file).f_frsize


def _last_line_end(file: int) -> int:
    """Return the position after the last line that can be archived; 0 if there is none."""
    most = os.fstat(file).st_size - 1  # the last block of a file cannot be removed
    start = max(0, most - _LINE_MAX)
    end = start + os.pread(file, most - start, start).rfind(b"\n") + 1
    end = most if end == start else end
    return end if end >= block_size(file) else 0


def _copy(file: int, target: Path, end: int) -> None:
    with target.open("wb") as copy:
        os.fchmod(copy.fileno(), 0o600)
        position = 0
        while position < end:
            position += os.sendfile(copy.fileno(), file, position, end - position)
        os.fsync(copy.fileno())  # the lines leave the log next


def _remove_start(file: int, end: int) -> bool:
    """Remove the blocks before `end`; what remains of the last line becomes blanks."""
    removed = removed_bytes(end, block_size(file))
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:  # not Linux
        return False
    if fallocate(file, _COLLAPSE_RANGE, ctypes.c_int64(0), ctypes.c_int64(removed)):
        return False  # not on this file system
    if end > removed:
        os.pwrite(file, b" " * (end - removed - 1) + b"\n", 0)
    return True


def _truncate(file: int, target: Path, end: int) -> None:
    with target.open("ab") as copy:
        while rest := os.pread(file, _LINE_MAX, end):
            end += copy.write(rest)
        copy.flush()
        os.ftruncate(file, 0)


def _shift_archives(log: Path, kept: int) -> None:
    for number in range(kept - 1, 0, -1):
        older = archive(log, number)
        if older.exists():
            older.replace(archive(log, number + 1))


def _remove_archives(log: Path, kept: int) -> None:
    """Remove the oldest archive, and any beyond a limit that was lowered."""
    for path in archives(log):
        if int(path.name.rpartition(".")[2]) >= kept:
            path.unlink()
