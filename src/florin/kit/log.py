"""Log: one JSON object a line, on standard error; no secrets, no card codes.

Levels error, warn, info, debug. The request id is bound for the duration of a request.
"""

import logging
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_NAMES = {"warning": "warn", "critical": "error", "exception": "error"}


def set_up(*, level: str, instance: str) -> None:
    """Configure logging of this process, that of libraries included."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            partial(_render, instance),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    library = logging.StreamHandler()
    library.setFormatter(_Library(instance))
    logging.basicConfig(level=logging.WARNING, handlers=[library], force=True)


def get() -> Any:
    return structlog.get_logger()


def request(instance: str, event: dict[str, Any]) -> None:
    """Log an answered request: the same line, without the pipeline, since every request pays."""
    event["instance"] = instance
    event["event"] = "request"
    event["level"] = "info"
    event["at"] = datetime.now(UTC).isoformat()
    sys.stderr.buffer.write(_encode(event) + b"\n")
    sys.stderr.buffer.flush()


def _level(_logger: object, name: str, event: EventDict) -> EventDict:
    event["level"] = _NAMES.get(name, name)
    return event


def _render(instance: str, _logger: object, _name: str, event: EventDict) -> bytes:
    return _encode({"instance": instance, **event})


class _Library(logging.Formatter):
    """Libraries speak the same JSON."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "instance": self._instance,
            "event": record.getMessage(),
            "logger": record.name,
            "level": _NAMES.get(record.levelname.lower(), record.levelname.lower()),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return _encode(event).decode()
