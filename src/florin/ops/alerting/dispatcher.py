"""Dispatcher: evaluates the conditions and sends notices, in one task for each receiver.

It sends the events of deployments, too. Silences do not concern them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from prometheus_client import Counter, Gauge

from florin.kit.observability import logging, metrics
from florin.ops.alerting import orders as orders_
from florin.ops.alerting.alert_book import AlertBook
from florin.ops.alerting.alert_states import Alert, AlertDelivery, inhibited_keys
from florin.ops.alerting.change_events import ChangeEvent, EventBook
from florin.ops.alerting.conditions import CONDITIONS, Condition, Violations
from florin.ops.alerting.delivery_plan import (
    SEVERITIES,
    Kind,
    after_failure,
    after_success,
    due_notice,
)
from florin.ops.alerting.fleet_metrics import FleetMetrics
from florin.ops.alerting.notice import ChangeNotice, Notice, Receiver, ReceiverError
from florin.ops.alerting.orders import AlertOrders
from florin.ops.fleet.audit_log import OperationRecord

EVALUATE_EVERY_S, _SEND_EVERY_S = 2.0, 0.5
STALE_S = 60.0  # a collection that is older says nothing about now
_SEND_WITHIN_S = 30.0
_TESTS_KEPT = 5
_log = logging.get_logger()

sent = Counter(
    "florin_alerts_sent_total",
    "Attempts to send an alert to a receiver, by outcome.",
    ["receiver", "outcome"],
    registry=metrics.registry,
)
firing = Gauge(
    "florin_alerts_firing",
    "Alerts that fire now, by severity.",
    ["severity"],
    registry=metrics.registry,
)


class AlertDispatcher:
    """Runs until cancelled. `readings` returns the metrics and the times of their collections;
    `changes` the last records of the audit log that are events.
    """

    def __init__(
        self,
        book: AlertBook,
        receivers: Sequence[Receiver],
        readings: Callable[[], tuple[FleetMetrics, dict[str, float]]],
        *,
        orders: Path | None,
        place: str,
        page: Callable[[], str],
        events: EventBook | None = None,
        changes: Callable[[], Sequence[OperationRecord]] = tuple,
    ) -> None:
        self.book, self.receivers = book, tuple(receivers)
        self.events, self._changes = events or EventBook(None), changes
        self.readings, self._orders_file = readings, orders
        self._place, self._page = place, page
        self.orders = AlertOrders()
        self.evaluated = 0.0
        self.tests: dict[str, dict[str, AlertDelivery]] = {}
        self.errors: dict[str, str] = {}  # the last failure of each receiver
        for receiver in self.receivers:
            for outcome in ("accepted", "failed"):
                sent.labels(receiver.name, outcome)
        for severity in ("page", "ticket"):
            firing.labels(severity)

    async def run(self) -> None:
        self.book.load()
        self.events.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._evaluate_forever())
            for receiver in self.receivers:
                group.create_task(self._send_forever(receiver))

    def evaluate(self, now: float) -> None:
        """Evaluate once. A condition without recent metrics is left out: its alerts stay."""
        values, times = self.readings()
        violations: dict[str, Violations] = {}
        for condition in CONDITIONS:
            recent = all(now - times.get(name, 0.0) <= STALE_S for name in condition.sources)
            if recent:
                violations |= _find(condition, values)
        self.book.evaluate(violations, CONDITIONS, now)
        self.evaluated = now
        for severity in ("page", "ticket"):
            count = sum(
                each.state == "firing" and each.severity == severity for each in self.book.alerts
            )
            firing.labels(severity).set(count)

    async def send_due(self, receiver: Receiver, now: float) -> None:
        """Send the receiver everything that is due."""
        for key, since in [(each.key, each.since) for each in self.book.alerts]:
            alert = self.book.find(key, since)  # as it is now: an earlier notice may take long
            if alert is None:
                continue
            symptoms = inhibited_keys(self.book.alerts)
            muted = alert.key in symptoms or self.orders.silenced(alert.key, now)
            kind = due_notice(alert, receiver.name, now, muted=muted)
            if kind is not None:
                await self._send(receiver, alert, kind)

    async def _evaluate_forever(self) -> None:
        while True:
            if self._orders_file is not None:
                self.orders = await asyncio.to_thread(orders_.read_orders, self._orders_file)
            self.evaluate(time.time())
            self.events.add(self._changes(), [each.name for each in self.receivers])
            await asyncio.sleep(EVALUATE_EVERY_S)

    async def _send_forever(self, receiver: Receiver) -> None:
        while True:
            now = time.time()
            await self.send_due(receiver, now)
            for event in self.events.due(receiver.name, now):
                await self._send_change(receiver, event)
            wanted = self.orders.test
            fresh = now - self.orders.tested <= orders_.TEST_WITHIN_S
            if wanted and fresh and receiver.name not in self.tests.get(wanted, {}):
                await self._test(receiver, wanted)
            await asyncio.sleep(_SEND_EVERY_S)

    async def _send(self, receiver: Receiver, alert: Alert, kind: Kind) -> None:
        error = await self._attempt(receiver, self._notify(receiver, alert, kind))
        now = time.time()
        if error is None:
            self.book.record_delivery(
                alert, receiver.name, lambda known: after_success(known, kind, now)
            )
            return
        _log.warning("alert not delivered", receiver=receiver.name, alert=alert.key, why=str(error))
        self.book.record_delivery(
            alert,
            receiver.name,
            lambda known: after_failure(known, str(error), now, wait_s=error.wait_s),
        )

    async def _send_change(self, receiver: Receiver, event: ChangeEvent) -> None:
        notice = ChangeNotice(event=event, place=self._place, page=self._page())
        error = await self._attempt(receiver, receiver.send_change(notice))
        now = time.time()
        if error is None:
            self.events.record_delivery(
                event, receiver.name, lambda known: after_success(known, "firing", now)
            )
            return
        _log.warning("event not delivered", receiver=receiver.name, what=event.key, why=str(error))
        self.events.record_delivery(
            event,
            receiver.name,
            lambda known: after_failure(known, str(error), now, wait_s=error.wait_s),
        )

    async def _test(self, receiver: Receiver, name: str) -> None:
        now = time.time()
        alert = Alert(
            name="Test",
            label=name,
            severity=min(SEVERITIES[receiver.name]),
            runbook="README",
            summary="This is a test of the receivers; nothing has to be done",
            state="firing",
            since=now,
            seen=now,
            fired=now,
        )
        error = await self._attempt(receiver, self._notify(receiver, alert, "test"))
        done = (
            AlertDelivery(sent=time.time())
            if error is None
            else AlertDelivery(tries=1, error=str(error))
        )
        for old in list(self.tests)[:-_TESTS_KEPT]:
            del self.tests[old]
        self.tests.setdefault(name, {})[receiver.name] = done

    def _notify(self, receiver: Receiver, alert: Alert, kind: Kind) -> Awaitable[None]:
        return receiver.send(Notice(kind=kind, alert=alert, place=self._place, page=self._page()))

    async def _attempt(self, receiver: Receiver, sending: Awaitable[None]) -> ReceiverError | None:
        failure: ReceiverError | None = None
        try:
            async with asyncio.timeout(_SEND_WITHIN_S):
                await sending
        except ReceiverError as error:
            failure = error
        except TimeoutError:
            failure = ReceiverError(f"no answer within {_SEND_WITHIN_S:.0f} s")
        except Exception as error:  # noqa: BLE001 -- a receiver's bug must not end its task
            failure = ReceiverError(f"{type(error).__name__}")
            _log.error("a receiver failed", receiver=receiver.name, error=repr(error))
        self.errors[receiver.name] = "" if failure is None else str(failure)
        sent.labels(receiver.name, "accepted" if failure is None else "failed").inc()
        return failure


def _find(condition: Condition, values: FleetMetrics) -> dict[str, Violations]:
    """Return the violations; nothing after an error, so that one condition ends no other."""
    try:
        return {condition.name: condition.find(values)}
    except Exception as error:  # noqa: BLE001 -- see the docstring
        _log.error("a condition cannot be evaluated", condition=condition.name, error=repr(error))
        return {}
