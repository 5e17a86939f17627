"""Alert book: the alerts with their deliveries, saved so that a restart loses and repeats none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from florin.kit.observability import logging
from florin.ops.alerting.alert_states import Alert, AlertDelivery, advance_alerts
from florin.ops.alerting.conditions import Condition, Violations
from florin.ops.fleet.home import write_file
from florin.ops.system.console import OperatorError

_log = logging.get_logger()


@dataclass(slots=True)
class AlertBook:
    """Every change is saved before the next one; a full disk is logged, and nothing stops."""

    path: Path | None  # None: nothing is saved
    alerts: list[Alert] = field(default_factory=list[Alert])
    _saved: bytes = b""

    def load(self) -> None:
        if self.path is None:
            return
        try:
            self.alerts = msgspec.json.decode(self.path.read_bytes(), type=list[Alert])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            _log.error("the saved alerts cannot be read; beginning without", detail=str(error))

    def find(self, key: str, since: float) -> Alert | None:
        """Return the occurrence of an alert that began then."""
        same = (each for each in self.alerts if (each.key, each.since) == (key, since))
        return next(same, None)

    def evaluate(
        self, violations: Mapping[str, Violations], conditions: Sequence[Condition], now: float
    ) -> None:
        before = {each.key: each.state for each in self.alerts}
        self.alerts = advance_alerts(self.alerts, violations, conditions, now)
        for each in self.alerts:
            if each.state == "firing" and before.get(each.key) != "firing":
                _log.warning("alert fires", alert=each.key, summary=each.summary)
        self._save()

    def record_delivery(
        self, alert: Alert, receiver: str, change: Callable[[AlertDelivery], AlertDelivery]
    ) -> None:
        """Record an attempt; the alert may have changed in the meantime, or been forgotten."""
        for place, each in enumerate(self.alerts):
            if each.key == alert.key and each.since == alert.since:
                known = each.deliveries.get(receiver, AlertDelivery())
                deliveries = each.deliveries | {receiver: change(known)}
                self.alerts[place] = msgspec.structs.replace(each, deliveries=deliveries)
        self._save()

    def _save(self) -> None:
        if self.path is None:
            return
        # The time of the last violation changes with each evaluation and is not worth a write.
        saved = msgspec.json.encode(
            [msgspec.structs.replace(each, seen=each.since) for each in self.alerts]
        )
        if saved == self._saved:
            return
        try:
            write_file(self.path, msgspec.json.encode(self.alerts))
            self._saved = saved
        except OperatorError as error:
            _log.error("the alerts cannot be saved", detail=str(error))
