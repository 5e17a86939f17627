"""Alerts view: the alerts, their deliveries and the receivers as a part of the document."""

from florin.ops.alerting.alert_states import Alert, AlertDelivery, inhibited_keys
from florin.ops.alerting.delivery_plan import SEVERITIES
from florin.ops.alerting.dispatcher import AlertDispatcher
from florin.ops.operator_page.document import Alerts, AlertState, DeliveryState, ReceiverState
from florin.ops.operator_page.readings import format_time

_SHOWN_ENDED = 20


def describe_alerts(dispatcher: AlertDispatcher) -> Alerts:
    alerts = dispatcher.book.alerts
    ended = sorted(
        (each for each in alerts if each.state == "resolved"),
        key=lambda each: each.ended,
        reverse=True,
    )
    return Alerts(
        evaluated=format_time(dispatcher.evaluated) if dispatcher.evaluated else None,
        firing=[_describe(each, dispatcher) for each in alerts if each.state != "resolved"],
        ended=[_describe(each, dispatcher) for each in ended[:_SHOWN_ENDED]],
        receivers=[
            ReceiverState(name=each.name, to=each.to, **_health(dispatcher, each.name))
            for each in dispatcher.receivers
        ],
        silences=[
            {"name": each.name, "until": format_time(each.until), "who": each.who}
            for each in dispatcher.orders.current(dispatcher.evaluated)
        ],
        tests={
            name: [_delivery(receiver, each) for receiver, each in results.items()]
            for name, results in dispatcher.tests.items()
        },
    )


def _health(dispatcher: AlertDispatcher, name: str) -> dict[str, str]:
    error = dispatcher.errors.get(name)
    if error is None:
        return {"state": "unused", "error": ""}
    return {"state": "failing" if error else "ok", "error": error}


def _describe(alert: Alert, dispatcher: AlertDispatcher) -> AlertState:
    symptoms = inhibited_keys(dispatcher.book.alerts)
    wanted = [each.name for each in dispatcher.receivers if alert.severity in SEVERITIES[each.name]]
    return AlertState(
        name=alert.key,
        severity=alert.severity,
        summary=alert.summary,
        runbook=alert.runbook,
        state=alert.state,
        since=format_time(alert.since),
        ended=format_time(alert.ended) if alert.ended else None,
        silenced=dispatcher.orders.silenced(alert.key, dispatcher.evaluated),
        symptom=alert.key in symptoms,
        deliveries=[]
        if alert.state == "pending"
        else [_delivery(name, alert.deliveries.get(name, AlertDelivery())) for name in wanted],
    )


def _delivery(receiver: str, known: AlertDelivery) -> DeliveryState:
    at = known.ended or known.sent
    state = "failed" if known.tries else "sent" if at else "waiting"
    return DeliveryState(
        receiver=receiver,
        state=state,
        at=format_time(at) if at else None,
        tries=known.tries,
        error=known.error,
    )
