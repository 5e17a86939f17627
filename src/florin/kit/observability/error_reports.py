"""Error reports: unexpected exceptions, sent to Sentry where SENTRY_DSN is set.

Sentry's own events quote exceptions, variables, log lines and requests. An event is therefore built
here, of an allow-list: names of types, functions, modules and files, constants of Florin's code,
and ids that Florin made. It has no message: the log has it, redacted, under the same ids. Each text
must match a strict pattern; an event that does not pass is not sent, and counted.

The SDK only transports: it has no integrations, breadcrumbs, scopes or tracing.
"""

import re
import time
import traceback
import uuid
from collections.abc import Mapping
from importlib import import_module
from pathlib import PurePath
from typing import Any

from florin.kit.observability import redaction
from florin.kit.observability.context import current_work
from florin.kit.observability.telemetry_metrics import error_reports

REPORTS_PER_MINUTE = 60  # of a process; an outage makes thousands of equal errors
_CAUSES_MAX = 5
_FRAMES_MAX = 40
_SHUT_DOWN_WITHIN_S = 2.0
_OWN_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")  # a caller's own id may be any text
_TEXT = re.compile(r"[\w.:/<>{}\[\] -]{1,200}", re.ASCII)
_TAGS = ("event", "route", "method", "queue", "kind", "logger")
_DATABASE_NAMES = ("sqlstate", "table_name", "constraint_name")  # names, never values


class _Unsafe(Exception):
    """A text of an event is not one that may leave."""


class ErrorReporter:
    """Sends events of this process to one Sentry project."""

    def __init__(self, dsn: str, *, release: str, environment: str, instance: str) -> None:
        sdk: Any = import_module("sentry_sdk")
        self._always = {"release": release, "environment": environment, "server_name": instance}
        self._minute, self._reported = 0, 0
        self._client = sdk.Client(
            dsn=dsn,
            **self._always,
            default_integrations=False,
            auto_enabling_integrations=False,
            max_breadcrumbs=0,
            attach_stacktrace=False,
            include_local_variables=False,
            include_source_context=False,
            auto_session_tracking=False,
            send_client_reports=False,
            enable_backpressure_handling=False,
            propagate_traces=False,
            shutdown_timeout=_SHUT_DOWN_WITHIN_S,
            before_send=_checked,
        )

    def report(self, error: BaseException, fields: Mapping[str, Any]) -> None:
        """Send an exception; never raises, since it is called where an error is handled."""
        try:
            if not self._is_within_limit():
                error_reports.labels("limited").inc()
                return
            event = error_event(error, fields)
            if self._client.capture_event(_checked(event | self._always)) is not None:
                error_reports.labels("reported").inc()
        except Exception:  # noqa: BLE001 -- fails closed: nothing is sent
            error_reports.labels("refused").inc()

    def shut_down(self) -> None:
        self._client.close(timeout=_SHUT_DOWN_WITHIN_S)

    def _is_within_limit(self) -> bool:
        minute = int(time.monotonic() / 60)
        if minute != self._minute:
            self._minute, self._reported = minute, 0
        self._reported += 1
        return self._reported <= REPORTS_PER_MINUTE


class _Reporting:
    reporter: ErrorReporter | None = None


def start_reports(dsn: str | None, *, release: str, environment: str, instance: str) -> None:
    """Report errors of this process from now on, if there is a DSN."""
    if dsn is not None:
        _Reporting.reporter = ErrorReporter(
            dsn, release=release, environment=environment, instance=instance
        )


def report_error(error: BaseException | None, fields: Mapping[str, Any]) -> None:
    """Report an unexpected exception. Of `fields`, those of the log line, few are sent."""
    if _Reporting.reporter is not None and error is not None:
        _Reporting.reporter.report(error, fields)


def shut_down() -> None:
    """Send what waits, for a moment at most."""
    if _Reporting.reporter is not None:
        _Reporting.reporter.shut_down()
        _Reporting.reporter = None


def error_event(error: BaseException, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return Sentry's event for an exception, its causes first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < _CAUSES_MAX:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    tags = {name: fields[name] for name in _TAGS if isinstance(fields.get(name), str)}
    for name in _DATABASE_NAMES:
        value: Any = getattr(error, name, None)
        tags |= {name: value} if isinstance(value, str) else {}
    event: dict[str, Any] = {
        "event_id": uuid.uuid4().hex,
        "timestamp": time.time(),
        "platform": "python",
        "level": "error",
        "exception": {"values": [_exception(each) for each in reversed(chain)]},
    }
    work = current_work()
    if work.request_id is not None and _OWN_REQUEST_ID.fullmatch(work.request_id):
        tags["request_id"] = work.request_id
    if work.trace is not None:
        ids = {"trace_id": work.trace.trace_id, "span_id": work.trace.span_id}
        event["contexts"] = {"trace": ids}
    return event | {"tags": tags}


def _exception(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "stacktrace": {"frames": [_frame(each) for each in frames]},
    }


def _frame(frame: traceback.FrameSummary) -> dict[str, Any]:
    """A place in the code; of the path only what lies in the package."""
    parts = PurePath(frame.filename).parts
    for start in ("site-packages", "src"):
        if start in parts:
            parts = parts[parts.index(start) + 1 :]
    path = "/".join(parts[-6:]).lstrip("/")
    return {
        "filename": path,
        "function": frame.name,
        "lineno": frame.lineno or 0,
        "in_app": path.startswith("florin/"),
    }


def _checked(event: Mapping[str, Any], _hint: object = None) -> dict[str, Any] | None:
    """Return a copy of what is allowed in an event. Raises _Unsafe, which sends nothing."""
    checked: dict[str, Any] = {
        name: _text(event[name])
        for name in ("event_id", "platform", "level", "release", "environment", "server_name")
        if event.get(name) is not None
    }
    checked["timestamp"] = float(event["timestamp"])
    checked["tags"] = {_text(name): _text(value) for name, value in event["tags"].items()}
    if "contexts" in event:
        trace = event["contexts"]["trace"]
        ids = {name: _text(trace[name]) for name in ("trace_id", "span_id")}
        checked["contexts"] = {"trace": ids}
    checked["exception"] = {
        "values": [
            {
                "type": _text(each["type"]),
                "module": _text(each["module"]),
                "stacktrace": {
                    "frames": [_checked_frame(frame) for frame in each["stacktrace"]["frames"]]
                },
            }
            for each in event["exception"]["values"]
        ]
    }
    return checked


def _checked_frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filename": _text(frame["filename"]),
        "function": _text(frame["function"]),
        "lineno": int(frame["lineno"]),
        "in_app": bool(frame["in_app"]),
    }


def _text(value: object) -> str:
    if not isinstance(value, str) or not _TEXT.fullmatch(value) or redaction.looks_secret(value):
        raise _Unsafe
    return value
