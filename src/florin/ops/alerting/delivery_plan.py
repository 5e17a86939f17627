"""Delivery plan: what a receiver has to be sent now, and when it is tried again. Pure."""

from typing import Literal

import msgspec

from florin.ops.alerting.alert_states import Alert, AlertDelivery

Kind = Literal["firing", "repeated", "ended", "missed", "test"]
_FIRST_REPEAT_S, _LAST_REPEAT_S = 3600.0, 24 * 3600.0
_FIRST_RETRY_S, _LAST_RETRY_S = 2.0, 300.0
# Which receivers get which severity; a page is for a person who is woken.
SEVERITIES = {
    "email": frozenset(("page", "ticket")),
    "slack": frozenset(("page", "ticket")),
    "pagerduty": frozenset(("page",)),
}


def due_notice(alert: Alert, receiver: str, now: float, *, muted: bool) -> Kind | None:
    """Return what the receiver has to be sent now; None: nothing. `muted`: silenced or a symptom.

    A receiver that was away while an alert fired and ended is sent both as one message, so that no
    one is woken for what is over.
    """
    if alert.severity not in SEVERITIES[receiver]:
        return None
    known = alert.deliveries.get(receiver, AlertDelivery())
    if now < known.due:
        return None
    if alert.state == "firing" and not muted:
        if not known.sent:
            return "firing"
        if now >= known.sent + repeat_delay(known.repeats):
            return "repeated"
    if alert.state == "resolved" and not known.ended:
        if known.sent:
            return "ended"
        if known.tries and receiver != "pagerduty":
            return "missed"
    return None


def repeat_delay(repeats: int) -> float:
    """Return the seconds until a firing alert is repeated: 1, 2, 4, 8, 16, then 24 hours."""
    return min(_FIRST_REPEAT_S * 2**repeats, _LAST_REPEAT_S)


def retry_delay(tries: int) -> float:
    """Return the seconds until the next attempt after `tries` failures: 2, 4, … 300."""
    return min(_FIRST_RETRY_S * 2 ** min(tries - 1, 10), _LAST_RETRY_S)


def after_success(known: AlertDelivery, kind: Kind, now: float) -> AlertDelivery:
    if kind in ("ended", "missed"):
        return msgspec.structs.replace(known, ended=now, tries=0, due=0.0, error="")
    repeats = known.repeats + (kind == "repeated")
    return msgspec.structs.replace(known, sent=now, repeats=repeats, tries=0, due=0.0, error="")


def after_failure(known: AlertDelivery, error: str, now: float, *, wait_s: float) -> AlertDelivery:
    """Return the state after a failed attempt; `wait_s` is what the receiver asked for, else 0."""
    tries = known.tries + 1
    due = now + max(retry_delay(tries), min(wait_s, 3600.0))
    return msgspec.structs.replace(known, tries=tries, due=due, error=error)
