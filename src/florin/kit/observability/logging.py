"""Logging: one JSON object per line on standard error, without secrets and card codes.

See docs/operations/logs.md. Levels: error, warn, info, debug. A line that is written during a
request has its id.
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
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_NAMES = {"warning": "warn", "critical": "error", "exception": "error"}


def configure_logging(*, level: str, instance: str) -> None:
    """Configure the logging of this process, libraries included."""
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
    """Add the request id to all further log lines of the current task."""
    _request_id.set(request_id)


def log_request(instance: str, event: dict[str, Any]) -> None:
    """Log an answered request, without structlog's pipeline: it would cost time per request."""
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
    exc_info = event.pop("exc_info", None)
    if exc_info:
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        event["exception"] = redaction.redact_exception(error)
    return event


def _render(instance: str, _logger: object, _name: str, event: EventDict) -> bytes:
    request_id = _request_id.get()
    request = {"request_id": request_id} if request_id is not None else {}
    clean = {k: redaction.redact_secrets(v) if isinstance(v, str) else v for k, v in event.items()}
    return _encode({"instance": instance, **request, **clean})


class _Library(logging.Formatter):
    """Formats the logs of libraries as the same JSON, with quoted values removed."""

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
        if _request_id.get() is not None:
            event["request_id"] = _request_id.get()
        if record.exc_info:
            event["exception"] = redaction.redact_exception(record.exc_info[1])
        return _encode(event).decode()
