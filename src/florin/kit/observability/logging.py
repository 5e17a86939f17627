"""Logging: one JSON object a line, on standard error; no secrets, no card codes.

See docs/operations/logs.md. Levels error, warn, info, debug. A line written during a request has
its id.
"""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict

from florin.kit.observability import redaction

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_asked: ContextVar[str | None] = ContextVar("request_id", default=None)
_NAMES = {"warning": "warn", "critical": "error", "exception": "error"}


def configure_logging(*, level: str, instance: str) -> None:
    """Configure logging of this process, that of libraries included."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _exception,
            partial(_render, instance),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    library = logging.StreamHandler()
    library.setFormatter(_Library(instance))
    logging.basicConfig(level=logging.WARNING, handlers=[library], force=True)


def get_logger() -> Any:
    return structlog.get_logger()


def bind_request(request_id: str) -> None:
    """What this task says from now on belongs to that request."""
    _asked.set(request_id)


def log_request(instance: str, event: dict[str, Any]) -> None:
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


def _exception(_logger: object, _name: str, event: EventDict) -> EventDict:
    asked = event.pop("exc_info", None)
    if asked:
        error = asked if isinstance(asked, BaseException) else sys.exc_info()[1]
        event["exception"] = redaction.redact_exception(error)
    return event


def _render(instance: str, _logger: object, _name: str, event: EventDict) -> bytes:
    asked = {"request_id": _asked.get()} if _asked.get() is not None else {}
    clean = {k: redaction.redact_secrets(v) if isinstance(v, str) else v for k, v in event.items()}
    return _encode({"instance": instance, **asked, **clean})


class _Library(logging.Formatter):
    """Libraries speak the same JSON; what they quote is left out."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "instance": self._instance,
            "event": redaction.redact_message(record.getMessage()),
            "logger": record.name,
            "level": _NAMES.get(record.levelname.lower(), record.levelname.lower()),
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if _asked.get() is not None:
            event["request_id"] = _asked.get()
        if record.exc_info:
            event["exception"] = redaction.redact_exception(record.exc_info[1])
        return _encode(event).decode()
