"""Entries: the lines of log files as JSON with a time and a level.

Instances and workers write JSON lines, which are passed on as they are. The lines of engines and of
older supervisors are text: each becomes the same JSON, with secrets removed.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from florin.kit.observability import redaction
from florin.kit.observability.logging import LEVELS, LogLevel

_encode = msgspec.json.Encoder().encode
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \[\d+\] .*?([A-Z]+[1-5]?):  ")
# A line that explains the message before it, or continues a line.
_DETAIL = re.compile(
    r"\t|\d{4}-\d\d-\d\d [\d:.]{12} UTC \[\d+\] .*?"
    r"(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):  "
)
_ARCHIVER = "archive command failed"  # the server says it as LOG, until it gives up for a while
_VALKEY = re.compile(r"\d+:\w (\d\d? \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.*#-]) ")
_HAPROXY = re.compile(r"\[(NOTICE|WARNING|ALERT)\]")
_REQUEST = re.compile(r"\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\]")  # HAProxy's of a request
_WORDS: dict[str, LogLevel] = {
    **dict.fromkeys(("ERROR", "FATAL", "PANIC", "ALERT"), "error"),
    **dict.fromkeys(("WARNING", "#"), "warn"),
    **dict.fromkeys(("DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5", ".", "-"), "debug"),
}


class _Event(msgspec.Struct):
    """What is read of a JSON line."""

    at: datetime
    level: LogLevel = "info"
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line: its time in seconds, and its JSON without the line's end."""

    at: float
    level: LogLevel
    request_id: str | None
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which lines are shown: those since a time, of a level or above, and of one request."""

    since: float = 0.0
    level: LogLevel = "debug"
    request_id: str | None = None

    def shows(self, entry: LogEntry) -> bool:
        return (
            entry.at >= self.since
            and LEVELS.index(entry.level) <= LEVELS.index(self.level)
            and (self.request_id is None or entry.request_id == self.request_id)
        )


class LineParser:
    """Makes entries of the lines of one part. A line without a time has that of the line before;
    the details of a message of PostgreSQL have its level.
    """

    def __init__(self, part: str, at: float) -> None:
        self._part = part
        self._at = at
        self._level: LogLevel = "info"  # of the last message of PostgreSQL

    def begin(self, at: float) -> None:
        """Set the time of lines that have none."""
        self._at = at

    def parse(self, line: bytes) -> LogEntry | None:
        """Return the entry of a line; None if it is blank."""
        line = line.strip(b"\0 \r\n")
        if not line:
            return None
        if line.startswith(b"{"):
            try:
                event = msgspec.json.decode(line, type=_Event)
            except msgspec.MsgspecError:
                pass
            else:
                self._at = event.at.timestamp()
                return LogEntry(self._at, event.level, event.request_id, line)
        return self._wrap(line.decode(errors="replace"))

    def _wrap(self, text: str) -> LogEntry:
        at, level = _time_and_level(text)
        if _DETAIL.match(text):
            level = self._level
        self._level = level
        self._at = self._at if at is None else at
        event = {
            "at": datetime.fromtimestamp(self._at, UTC).isoformat().replace("+00:00", "Z"),
            "level": level,
            "event": redaction.redact_secrets(text),
            "instance": self._part,
        }
        return LogEntry(self._at, level, None, _encode(event))


def _time_and_level(text: str) -> tuple[float | None, LogLevel]:
    if match := _POSTGRES.match(text):
        at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        level = "warn" if _ARCHIVER in text else _WORDS.get(match[2], "info")
        return at.timestamp(), level
    if match := _VALKEY.match(text):
        at = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").astimezone()  # local time
        return at.timestamp(), _WORDS.get(match[2], "info")
    if match := _REQUEST.search(text):
        at = datetime.strptime(match[1], "%d/%b/%Y:%H:%M:%S.%f").astimezone()  # local time
        return at.timestamp(), "info"
    match = _HAPROXY.match(text)
    return None, _WORDS.get(match[1], "info") if match else "info"
