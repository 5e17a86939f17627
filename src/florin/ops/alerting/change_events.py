"""Change events: the start and the end of each deployment and rollback, for the receivers.

They come from the fleet's audit log. Each receiver gets each event once; what was sent and what is
due is saved, so that a restart, which each deployment brings, repeats and loses none.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from florin.kit.observability import logging
from florin.ops.alerting.alert_states import AlertDelivery
from florin.ops.fleet.audit_log import OperationRecord
from florin.ops.fleet.home import write_file
from florin.ops.system.console import OperatorError

KEPT = 50
GIVEN_UP_S = 24 * 3600.0  # a receiver that was away for longer is not sent what is long over
_log = logging.get_logger()


class ChangeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the audit log, and the receivers that get it."""

    record: OperationRecord
    deliveries: dict[str, AlertDelivery] = {}

    @property
    def key(self) -> str:
        return f"{self.record.at} {self.record.outcome} {self.record.what}"

    @property
    def at(self) -> float:
        """Unix time."""
        return datetime.fromisoformat(self.record.at).timestamp()


@dataclass(slots=True)
class EventBook:
    """The events of the last time with their deliveries; every change is saved."""

    path: Path | None  # None: nothing is saved
    events: list[ChangeEvent] = field(default_factory=list[ChangeEvent])
    _first_at: float | None = None  # without a saved book: what happened before is not sent

    def load(self) -> None:
        self._first_at = time.time()
        if self.path is None:
            return
        try:
            self.events = msgspec.json.decode(self.path.read_bytes(), type=list[ChangeEvent])
            self._first_at = None
        except FileNotFoundError:
            self._save()
        except (OSError, msgspec.DecodeError) as error:
            _log.error("the saved events cannot be read; beginning without", detail=str(error))

    def add(self, records: Sequence[OperationRecord], receivers: Sequence[str]) -> None:
        """Add the records that are new. Receivers that are set later do not get them."""
        known = {each.key for each in self.events}
        found = [
            each for record in records if (each := ChangeEvent(record=record)).key not in known
        ]
        if not found:
            return
        named = {name: AlertDelivery() for name in receivers}
        self.events += [
            msgspec.structs.replace(each, deliveries=named)
            if self._first_at is None or each.at >= self._first_at
            else each
            for each in found
        ]
        self.events = self.events[-KEPT:]
        self._save()

    def due(self, receiver: str, now: float) -> list[ChangeEvent]:
        """Return what the receiver has to be sent now, the oldest first."""
        found: list[ChangeEvent] = []
        for each in self.events:
            known = each.deliveries.get(receiver)
            waits = known is not None and not known.sent and now >= known.due
            if waits and now - each.at < GIVEN_UP_S:
                found.append(each)
        return found

    def record_delivery(
        self, event: ChangeEvent, receiver: str, change: Callable[[AlertDelivery], AlertDelivery]
    ) -> None:
        for place, each in enumerate(self.events):
            if each.key == event.key:
                changed = change(each.deliveries[receiver])
                deliveries = each.deliveries | {receiver: changed}
                self.events[place] = msgspec.structs.replace(each, deliveries=deliveries)
        self._save()

    def _save(self) -> None:
        if self.path is None:
            return
        try:
            write_file(self.path, msgspec.json.encode(self.events))
        except OperatorError as error:
            _log.error("the events cannot be saved", detail=str(error))
