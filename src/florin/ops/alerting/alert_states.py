"""Alert states: from violations to alerts that are pending, firing or resolved. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from florin.ops.alerting.conditions import SYMPTOMS, Condition, Violations

State = Literal["pending", "firing", "resolved"]
_ENDED_KEPT = 30


class AlertDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver knows of an alert. Times are Unix time, 0 for never.

    `sent` and `ended` are when it accepted the alert and its end; `repeats` counts what it got
    again. After a failure `tries` counts, and `due` is the time of the next attempt.
    """

    sent: float = 0.0
    ended: float = 0.0
    repeats: int = 0
    tries: int = 0
    due: float = 0.0
    error: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert from its first violation to its end. `label` distinguishes alerts of one name."""

    name: str
    label: str
    severity: str
    runbook: str
    summary: str
    state: State
    since: float  # the first violation
    seen: float  # the last violation
    fired: float = 0.0
    ended: float = 0.0
    deliveries: dict[str, AlertDelivery] = {}

    @property
    def key(self) -> str:
        """The same for each occurrence of the alert."""
        return f"{self.name}/{self.label}" if self.label else self.name


def advance_alerts(
    alerts: Sequence[Alert],
    violations: Mapping[str, Violations],
    conditions: Sequence[Condition],
    now: float,
) -> list[Alert]:
    """Return the alerts after an evaluation.

    `violations` are those by condition; a condition that could not be evaluated, since its metrics
    are missing, is left out of it: its alerts keep their state.
    """
    after: list[Alert] = []
    open_alerts = {each.key: each for each in alerts if each.state != "resolved"}
    for condition in conditions:
        mine = [each for each in open_alerts.values() if each.name == condition.name]
        if condition.name not in violations:
            after += mine
            continue
        violated = violations[condition.name]
        known = {each.label: each for each in mine}
        for label, summary in violated.items():
            after.append(_violated(known.get(label), condition, label, summary, now))
        for each in mine:
            if each.label not in violated:
                after += _quiet(each, condition, now)
    ended = [each for each in alerts if each.state == "resolved"]
    just = [each for each in after if each.state == "resolved"]
    firing = [each for each in after if each.state != "resolved"]
    kept = sorted((*ended, *just), key=lambda each: each.ended)[-_ENDED_KEPT:]
    return [*firing, *kept]


def _violated(
    before: Alert | None, condition: Condition, label: str, summary: str, now: float
) -> Alert:
    alert = before or Alert(
        name=condition.name,
        label=label,
        severity=condition.severity,
        runbook=condition.runbook,
        summary=summary,
        state="pending",
        since=now,
        seen=now,
    )
    alert = msgspec.structs.replace(alert, seen=now, summary=summary)
    if alert.state == "pending" and now - alert.since >= condition.for_s:
        alert = msgspec.structs.replace(alert, state="firing", fired=now)
    return alert


def _quiet(alert: Alert, condition: Condition, now: float) -> list[Alert]:
    if alert.state == "pending":
        return []
    if now - alert.seen < condition.keep_s:
        return [alert]
    return [msgspec.structs.replace(alert, state="resolved", ended=now)]


def inhibited_keys(alerts: Sequence[Alert]) -> frozenset[str]:
    """Return the keys of firing alerts that are symptoms of another firing alert."""
    firing = [each for each in alerts if each.state == "firing"]
    symptoms = frozenset[str]().union(*(SYMPTOMS.get(each.name, frozenset()) for each in firing))
    return frozenset(each.key for each in firing if each.name in symptoms)
