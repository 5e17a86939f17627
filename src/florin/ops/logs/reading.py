"""Reading: the log files of all parts as one stream of lines, ordered by time."""

import fcntl
import heapq
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from florin.ops.fleet.home import Home
from florin.ops.logs.entries import LineParser, LogEntry, LogFilter
from florin.ops.logs.rotation import archive, archives, block_size, removed_bytes
from florin.ops.system.console import OperatorError

_CHUNK = 2**20  # bytes
_CHUNKS_AT_ONCE = 4  # a log may grow as fast as it is read; the others have their turn


class LogTail:
    """Reads a log from a position on, and what is appended to it, across rotations."""

    def __init__(self, log: Path, position: int) -> None:
        self.log = log
        self._position = position
        self._archived = _identity(archive(log, 1))

    def begin_after(self, newest: int | None) -> None:
        """Set the open archive that ends where the log begins; None if there is none."""
        self._archived = None if newest is None else _identity(newest)

    def read(self) -> bytes:
        """Return the next bytes; none at the present end."""
        try:
            with self.log.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)  # no rotation between the two steps
                return self._rest_of_archives(file.fileno()) or self._next(file.fileno())
        except FileNotFoundError:
            return b""

    def _next(self, file: int) -> bytes:
        if os.fstat(file).st_size < self._position:
            self._position = 0  # emptied by another program
        text = os.pread(file, _CHUNK, self._position)
        self._position += len(text)
        return text

    def _rest_of_archives(self, file: int) -> bytes:
        """After rotations, correct the position; return what was not read before them."""
        newer: list[Path] = []
        for path in reversed(archives(self.log)):
            if _identity(path) == self._archived:
                break
            newer.append(path)
        text = b""
        for path in reversed(newer):
            archived = path.stat().st_size
            if self._position > archived:
                self._position -= removed_bytes(archived, block_size(file))
                continue
            with path.open("rb") as older:
                older.seek(self._position)
                text += older.read()
            self._position = 0
        self._archived = _identity(newer[0]) if newer else self._archived
        return text


def log_files(home: Home, names: Sequence[str]) -> list[Path]:
    """Return the log files of these parts; of all if none is named. Raises OperatorError."""
    found = {path.name.removesuffix(".log"): path for path in sorted(home.logs.glob("*.log"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        known = ", ".join(found) or "none"
        raise OperatorError(f"There is no log of {unknown[0]} in {home.logs}; logs: {known}.")
    if not found:
        raise OperatorError(f"There are no logs in {home.logs}; start the fleet with florin up.")
    return [found[name] for name in names] if names else list(found.values())


class FleetLogs:
    """The logs of the named parts, or of all; parts that start later are added."""

    def __init__(
        self, home: Home, names: Sequence[str], wanted: LogFilter, *, only_new: bool = False
    ) -> None:
        self._home = home
        self._names = names
        self._wanted = wanted
        files = log_files(home, names)
        self._logs = {
            log: PartLog(log, log.stat().st_size if only_new else 0, wanted) for log in files
        }

    def history(self) -> Iterator[bytes]:
        """Yield the lines that were written until now, ordered by time."""
        streams = [each.history() for each in self._logs.values()]
        for _, entry in heapq.merge(*streams, key=lambda each: each[0]):
            yield entry.text

    def new_lines(self, now: float) -> list[bytes]:
        """Return the complete lines that were written since the last call, ordered by time."""
        for log in self._present():
            if log not in self._logs:
                self._logs[log] = PartLog(log, 0, self._wanted)
        entries = [entry for each in self._logs.values() for entry in each.new_entries(now)]
        return [entry.text for entry in sorted(entries, key=lambda entry: entry.at)]

    def _present(self) -> list[Path]:
        if self._names:
            return [log for name in self._names if (log := self._home.log(name)).exists()]
        return sorted(self._home.logs.glob("*.log"))


class PartLog:
    """The log of one part from a position on, with its archives."""

    def __init__(self, log: Path, position: int, wanted: LogFilter) -> None:
        self._log = log
        self._wanted = wanted
        self._tail = LogTail(log, position)
        self._rest = b""  # of the last line, which is not complete
        self._parser = LineParser(log.name.removesuffix(".log"), 0.0)

    def history(self) -> Generator[tuple[float, LogEntry]]:
        """Yield the entries with the key of their order, which never falls: lines of one process
        are kept in the order in which it wrote them.
        """
        key = 0.0
        self._parser.begin(self._first_time())
        for line in self._all_lines():
            entry = self._shown(line)
            if entry is not None:
                key = max(key, entry.at)
                yield key, entry

    def new_entries(self, now: float) -> list[LogEntry]:
        """Return the entries that were added; those without a time have the time `now`."""
        self._parser.begin(now)
        lines = self._lines(chunks=_CHUNKS_AT_ONCE)
        return [entry for line in lines if (entry := self._shown(line)) is not None]

    def _shown(self, line: bytes) -> LogEntry | None:
        entry = self._parser.parse(line)
        return entry if entry is not None and self._wanted.shows(entry) else None

    def _all_lines(self) -> Generator[bytes]:
        older = [path.open("rb") for path in archives(self._log)]
        # What is rotated from here on, the tail notices.
        self._tail.begin_after(older[-1].fileno() if older else None)
        for file in older:
            with file:
                if os.fstat(file.fileno()).st_mtime >= self._wanted.since:
                    yield from file
        yield from self._lines()

    def _lines(self, *, chunks: int | None = None) -> Generator[bytes]:
        """Yield the complete lines up to the present end, of at most so many chunks."""
        read = 0
        while (chunks is None or read < chunks) and (text := self._tail.read()):
            read += 1
            *lines, self._rest = (self._rest + text).split(b"\n")
            yield from lines

    def _first_time(self) -> float:
        """Return the time of the first line that has one; else that of the file."""
        parser = LineParser("", 0.0)
        for path in (*archives(self._log), self._log):
            with path.open("rb") as file:
                for line in file:
                    entry = parser.parse(line)
                    if entry is not None and entry.at:
                        return entry.at
        return self._log.stat().st_mtime


def _identity(path: Path | int) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- a path or an open file
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
