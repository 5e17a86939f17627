"""Notice: one message about an alert, and the interface of the receivers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from florin.ops.alerting.alert_states import Alert
from florin.ops.alerting.change_events import ChangeEvent
from florin.ops.alerting.delivery_plan import Kind

_TITLES = {
    "firing": "FIRING",
    "repeated": "STILL FIRING",
    "ended": "RESOLVED",
    "missed": "RESOLVED",
    "test": "TEST",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a receiver is sent. `place` names the installation, `page` its operator page."""

    kind: Kind
    alert: Alert
    place: str
    page: str

    @property
    def title(self) -> str:
        return f"[{_TITLES[self.kind]}] {self.alert.key}: {self.alert.summary}"

    @property
    def runbook(self) -> str:
        return f"{self.page}/runbooks/{self.alert.runbook}"

    @property
    def times(self) -> str:
        since = format_moment(self.alert.since)
        return f"since {since}" + (
            f", ended {format_moment(self.alert.ended)}" if self.alert.ended else ""
        )

    @property
    def over(self) -> bool:
        return self.kind in ("ended", "missed")


_OUTCOMES = {
    "begun": "STARTED",
    "done": "FINISHED",
    "undone": "UNDONE",
    "failed": "FAILED",
    "cut off": "CUT OFF",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNotice:
    """What a receiver is sent about a deployment or a rollback; see Notice."""

    event: ChangeEvent
    place: str
    page: str

    @property
    def title(self) -> str:
        record = self.event.record
        said = _OUTCOMES.get(record.outcome, record.outcome.upper())
        return f"[DEPLOYMENT {said}] {record.what}, by {record.who}"

    @property
    def why(self) -> str:
        """What the command said at its end: the result, or why it was undone. Else empty."""
        return self.event.record.message

    @property
    def times(self) -> str:
        seconds = self.event.record.seconds
        took = f", took {seconds:.1f} s" if seconds is not None else ""
        return f"{format_moment(self.event.at)}{took}"

    @property
    def well(self) -> bool:
        return self.event.record.outcome in ("begun", "done")


class ReceiverError(Exception):
    """A receiver did not accept a notice; `wait_s` is the pause that it asked for."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Receiver(Protocol):
    """One receiver of alerts. `to` shows where it sends, without secrets."""

    @property
    def name(self) -> str: ...

    @property
    def to(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """Return once the receiver has accepted the notice. Raises ReceiverError."""
        ...

    async def send_change(self, notice: ChangeNotice) -> None:
        """Return once the receiver has accepted the event. Raises ReceiverError."""
        ...


def format_moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
