"""Logging: one JSON object per line on standard error, without secrets and card codes.

See docs/operations/logs.md. Levels: error, warn, info, debug; the lowest one that is written can be
changed while the process runs. A line that is written during a request or job has its ids
(context.py).
"""

import logging
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Literal, get_args

import msgspec
import structlog
from structlog.typing import EventDict

from florin.kit.observability import error_reports, redaction
from florin.kit.observability.context import current_work
from florin.kit.observability.log_output import output

LogLevel = Literal["error", "warn", "info", "debug"]
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)

_encode = msgspec.json.Encoder(enc_hook=str).encode
_NUMBERS: dict[str, int] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_NAMES = {"warning": "warn", "critical": "error", "exception": "error"}


class _Threshold:
    """The lowest level that this process writes."""

    name: LogLevel = "info"
    number: int = _NUMBERS["info"]


def configure_logging(*, level: LogLevel, instance: str) -> None:
    """Configure the logging of this process, libraries and uncaught exceptions included."""
    set_level(level)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _exception,
            partial(_render, instance),
        ],
        # Every level passes here; `_level` drops those below the threshold, which may change.
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS["debug"]),
        logger_factory=_LineLogger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryLines(instance)], force=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value, args.exc_traceback
    )


def set_level(level: LogLevel) -> None:
    """Change the lowest level that is written."""
    _Threshold.name, _Threshold.number = level, _NUMBERS[level]


def find_level(name: str) -> LogLevel:
    """Return the level of that name. Raises ValueError."""
    for level in LEVELS:
        if level == name:
            return level
    raise ValueError(f"FLORIN_LOG_LEVEL: must be one of {', '.join(LEVELS)}, not {name}")


def current_level() -> LogLevel:
    return _Threshold.name


def get_logger() -> Any:
    return structlog.get_logger()


def log_request(instance: str, event: dict[str, Any]) -> None:
    """Log an answered request: without structlog, and encoded outside of the request."""
    if _Threshold.number <= _NUMBERS["info"]:
        output.add(partial(_request_line, time.time(), instance, event))


def flush() -> None:
    """Write all lines now; for a process that ends without leaving its interpreter in order."""
    output.flush()


def _request_line(at: float, instance: str, event: dict[str, Any]) -> bytes:
    head = {"at": _time(at), "level": "info", "event": "request", "instance": instance}
    return _encode(head | event)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


class _LineLogger:
    """What structlog calls with a rendered line."""

    def __init__(self, *_names: Any) -> None: ...

    def msg(self, line: bytes) -> None:
        output.add(line)

    def error(self, line: bytes) -> None:
        output.add(line, urgent=True)

    log = debug = info = warn = warning = msg
    fatal = failure = err = critical = exception = error


def _level(_logger: object, name: str, event: EventDict) -> EventDict:
    level = _NAMES.get(name, name)
    if _NUMBERS[level] < _Threshold.number:
        raise structlog.DropEvent
    event["level"] = level
    return event


def _exception(_logger: object, _name: str, event: EventDict) -> EventDict:
    exc_info = event.pop("exc_info", None)
    if exc_info:
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        event["exception"] = redaction.redact_exception(error)
        if event["level"] == "error":
            error_reports.report_error(error, event)
    return event


def _render(instance: str, _logger: object, _name: str, event: EventDict) -> bytes:
    head = {name: event.pop(name) for name in ("at", "level", "event") if name in event}
    clean = {k: redaction.redact_secrets(v) if isinstance(v, str) else v for k, v in event.items()}
    head["event"] = redaction.redact_secrets(str(head.get("event", "")))
    return _encode({**head, "instance": instance, **current_work().log_fields(), **clean})


def _log_uncaught(
    _kind: type[BaseException], error: BaseException | None, _frames: TracebackType | None
) -> None:
    """Log an exception that ends a thread or the process: Python would print it with its values."""
    if isinstance(error, KeyboardInterrupt):
        return
    get_logger().error("an uncaught exception", exc_info=error)
    flush()


class _LibraryLines(logging.Handler):
    """Writes the logs of libraries as the same JSON, with quoted values removed."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 -- Python would print the values of the record
            get_logger().warning("a log record could not be formatted", logger=record.name)
            return
        output.add(line, urgent=record.levelno >= logging.ERROR)

    def _line(self, record: logging.LogRecord) -> bytes:
        event: dict[str, Any] = {
            "at": _time(record.created),
            "level": _NAMES.get(record.levelname.lower(), record.levelname.lower()),
            "event": redaction.redact_message(record.getMessage()),
            "instance": self._instance,
            **current_work().log_fields(),
            "logger": record.name,
        }
        if record.exc_info:
            event["exception"] = redaction.redact_exception(record.exc_info[1])
            # The text of a library's line is no constant: it is not reported.
            error_reports.report_error(record.exc_info[1], {"logger": record.name})
        return _encode(event)
