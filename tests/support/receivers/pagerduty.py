"""PagerDuty: a server for the Events API v2, with the answers of the real one.

https://developer.pagerduty.com/docs/send-alert-event, …/docs/send-change-event
"""

import json
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from tests.support.receivers.http_receiver import HttpReceiver, JsonBody, Reply

_PATH, _CHANGES = "/v2/enqueue", "/v2/change/enqueue"
_ACTIONS = frozenset({"trigger", "acknowledge", "resolve"})
_SEVERITIES = frozenset({"critical", "error", "warning", "info"})
_SUMMARY_MAX, _DEDUP_MAX, _KEY_LENGTH = 1024, 255, 32
ROUTING_KEY = "0123456789abcdef0123456789abcdef"
_JSON = "application/json"
RATE_LIMITED = Reply(429, '{"status":"throttle exceeded"}', _JSON)
OUTAGE = Reply(500, '{"status":"internal error"}', _JSON)


@dataclass(slots=True)
class Incident:
    """What PagerDuty makes of the events of one dedup key; times are monotonic seconds.

    `triggers` counts the events that opened or repeated it.
    """

    dedup_key: str
    summary: str
    severity: str
    opened_at: float
    triggers: int = 1
    resolved_at: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def open(self) -> bool:
        return self.resolved_at is None


class PagerDuty(HttpReceiver):
    """The server; `url` is the full address of its events, `incidents` what it was sent.

    As at PagerDuty a trigger with the key of an open incident is merged into it, one with the key
    of a resolved incident opens a new one, and a resolve without an open incident changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.routing_key = ROUTING_KEY
        self.incidents: list[Incident] = []
        self.events: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return self.base + _PATH

    def open_incidents(self) -> list[Incident]:
        return [each for each in self.incidents if each.open]

    def accept(self, path: str, content_type: str, body: bytes) -> Reply:
        if path not in (_PATH, _CHANGES):
            return Reply(404, '{"status":"not found"}', _JSON)
        event = JsonBody(body).value
        if content_type != _JSON or event is None:
            return _invalid("the body is not a JSON object")
        if path == _CHANGES:
            return self._accept_change(event)
        if errors := self._errors(event):
            return _invalid(*errors)
        key = event.get("dedup_key") or uuid.uuid4().hex
        self.events.append(event)
        self._apply(event, key)
        said = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Reply(202, json.dumps(said), _JSON)

    def _accept_change(self, event: dict[str, Any]) -> Reply:
        payload: Any = event.get("payload")
        errors = self._key_errors(event)
        if not isinstance(payload, dict):
            errors.append("'payload' is missing or blank")
        else:
            errors += _change_errors(cast("dict[str, Any]", payload))
        if errors:
            return _invalid(*errors)
        self.changes.append(event)
        said = {"status": "success", "message": "Change event processed"}
        return Reply(202, json.dumps(said), _JSON)

    def wait_for(self, words: str, within_s: float) -> Incident:
        """Wait for an incident whose summary contains `words`. Raises AssertionError."""

        def found() -> list[Incident]:
            return [each for each in self.incidents if words in each.summary]

        assert self.wait_until(lambda: bool(found()), within_s), (words, self.events)
        return found()[-1]

    def wait_resolved(self, incident: Incident, within_s: float) -> float:
        """Wait until the incident is resolved; return when. Raises AssertionError."""
        assert self.wait_until(lambda: not incident.open, within_s), incident
        assert incident.resolved_at is not None
        return incident.resolved_at

    def _key_errors(self, event: dict[str, Any]) -> list[str]:
        key = event.get("routing_key")
        if not isinstance(key, str) or len(key) != _KEY_LENGTH:
            return ["Length of 'routing_key' is incorrect (should be 32 characters)"]
        return [] if key == self.routing_key else ["'routing_key' is unknown"]

    def _errors(self, event: dict[str, Any]) -> list[str]:
        found, action = self._key_errors(event), event.get("event_action")
        if action not in _ACTIONS:
            found.append("'event_action' is invalid (must be trigger, acknowledge or resolve)")
        dedup = event.get("dedup_key")
        if len(str(dedup or "")) > _DEDUP_MAX:
            found.append("'dedup_key' is longer than 255 characters")
        if action != "trigger":
            return found if dedup else [*found, "'dedup_key' is missing or blank"]
        payload: Any = event.get("payload")
        if not isinstance(payload, dict):
            return [*found, "'payload' is missing or blank"]
        return [*found, *_payload_errors(cast("dict[str, Any]", payload))]

    def _apply(self, event: dict[str, Any], key: str) -> None:
        now = time.monotonic()
        incident = next((each for each in self.open_incidents() if each.dedup_key == key), None)
        if event["event_action"] == "trigger" and incident is None:
            payload = event["payload"]
            incident = Incident(key, payload["summary"], payload["severity"], now)
            self.incidents.append(incident)
        elif event["event_action"] == "trigger" and incident is not None:
            incident.triggers += 1
        elif event["event_action"] == "resolve" and incident is not None:
            incident.resolved_at = now
        if incident is not None:
            incident.events.append(event)


def _payload_errors(payload: dict[str, Any]) -> list[str]:
    found = [
        f"'payload.{name}' is missing or blank"
        for name in ("summary", "source", "severity")
        if not payload.get(name)
    ]
    if payload.get("severity") not in {*_SEVERITIES, None, ""}:
        found.append("'payload.severity' is invalid (must be critical, error, warning or info)")
    if len(str(payload.get("summary") or "")) > _SUMMARY_MAX:
        found.append("'payload.summary' is longer than 1024 characters")
    return found


def _change_errors(payload: dict[str, Any]) -> list[str]:
    summary = payload.get("summary")
    if not summary:
        return ["'payload.summary' is missing or blank"]
    if len(str(summary)) > _SUMMARY_MAX:
        return ["'payload.summary' is longer than 1024 characters"]
    try:
        datetime.fromisoformat(payload.get("timestamp") or "2026-01-01T00:00:00Z")
    except ValueError:
        return ["'payload.timestamp' is invalid (must be ISO 8601)"]
    return []


def _invalid(*errors: str) -> Reply:
    said = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
    return Reply(400, json.dumps(said), _JSON)


@contextmanager
def pagerduty() -> Generator[PagerDuty]:
    made = PagerDuty()
    made.start()
    try:
        yield made
    finally:
        made.stop()
