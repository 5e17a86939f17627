"""Conditions: the ten alerts that a fleet without Prometheus raises itself, as plain functions.

Names, limits and durations are those of deploy/prometheus/rules.yaml; a test plays the same series
to both. A function returns its violations: the label that distinguishes them (empty if there can be
only one) and a sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass

from florin.ops.alerting import fleet_metrics as m
from florin.ops.alerting.fleet_metrics import FleetMetrics
from florin.ops.alerting.metric_history import MetricHistory

Violations = dict[str, str]

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_BUDGET = 0.001  # of the answers may fail
_SLOW_BUDGET = 0.01  # of the requests that move money may take longer than 250 ms
_FAST = 14.4  # the speed at which two percent of a month's budget are spent in an hour
_LAG_LIMIT_S = 5.0
_DISK_SHARE, _DISK_LEAST = 0.05, 512 * 2**20


@dataclass(frozen=True, slots=True)
class Condition:
    """An alert. It fires once violated for `for_s`, and ends `keep_s` after the last violation."""

    name: str
    severity: str  # page | ticket
    runbook: str
    find: Callable[[FleetMetrics], Violations]
    for_s: float = 0.0
    keep_s: float = 0.0
    sources: tuple[str, ...] = ("processes",)


def instances_down(metrics: FleetMetrics) -> Violations:
    active = metrics.balancer.values(m.ACTIVE_SERVERS, proxy="roundrobin")
    up = metrics.up.get("florin-api", [])
    if (active and max(active) == 0) or (up and not any(up)):
        return {"": "No API instance serves requests"}
    return {}


def errors_fast(metrics: FleetMetrics) -> Violations:
    history = metrics.balancer

    def share(within_s: float) -> float:
        every = history.increase(m.BALANCER_ANSWERS, within_s, proxy="public")
        failed = history.increase(m.BALANCER_ANSWERS, within_s, proxy="public", code="5xx")
        return failed / every if every else 0.0

    failed = history.increase(m.BALANCER_ANSWERS, _HOUR_S, proxy="public", code="5xx")
    hour, minutes, limit = share(_HOUR_S), share(5 * _MINUTE_S), _FAST * _BUDGET
    if hour > limit and minutes > limit and failed >= 10:  # noqa: PLR2004 - fewer are no share
        return {"": f"{minutes:.1%} of the requests fail (limit {limit:.1%})"}
    return {}


def money_slow_fast(metrics: FleetMetrics) -> Violations:
    hour, count = _slow_share(metrics.processes, _HOUR_S)
    minutes, _ = _slow_share(metrics.processes, 5 * _MINUTE_S)
    limit = _FAST * _SLOW_BUDGET
    if hour > limit and minutes > limit and count >= 100:  # noqa: PLR2004 - fewer are no share
        text = f"{minutes:.0%} of the requests that move money take longer than 250 ms"
        return {"": f"{text} (limit {limit:.0%})"}
    return {}


def ledger_unbalanced(metrics: FleetMetrics) -> Violations:
    count = max(metrics.processes.values(m.LEDGER_UNBALANCED), default=0.0)
    if count > 0:
        return {"": f"Balances of the ledger differ from its entries ({count:.0f} differences)"}
    return {}


def write_maybe_lost(metrics: FleetMetrics) -> Violations:
    if metrics.processes.increase(m.WRITES_LOST, 10 * _MINUTE_S) > 0:
        return {"": "A write that was acknowledged may be lost"}
    return {}


def queue_late(metrics: FleetMetrics) -> Violations:
    oldest = _highest(metrics.processes, m.QUEUE_OLDEST, "queue")
    limits = _highest(metrics.processes, m.QUEUE_OBJECTIVE, "queue")
    return {
        queue: f"The oldest job of {queue} waits {age:.0f} s (objective {limits[queue]:.0f} s)"
        for queue, age in oldest.items()
        if queue in limits and age > limits[queue]
    }


def no_worker(metrics: FleetMetrics) -> Violations:
    workers = metrics.processes.values(m.QUEUE_WORKERS, state="live")
    wanted = metrics.processes.values(m.WORKERS_WANTED)
    if workers and max(workers) == 0 and not (wanted and max(wanted) == 0):
        return {"": "No worker runs"}
    return {}


def database_unreachable(metrics: FleetMetrics) -> Violations:
    reached = metrics.processes.values(m.DEPENDENCY_UP, dependency="database")
    if reached and max(reached) == 0:
        return {"": "No instance reaches the database"}
    return {}


def replica_lag(metrics: FleetMetrics) -> Violations:
    lags = _highest(metrics.processes, m.REPLICA_LAG, "server")
    # Instances watch every server of the database; the primary is not behind itself.
    standbys = _highest(metrics.processes, m.REPLICA_STANDBY, "server")
    return {
        server: f"{server} is {lag:.0f} s behind (limit {_LAG_LIMIT_S:.0f} s)"
        if lag != float("inf")
        else f"{server} is disconnected"
        for server, lag in lags.items()
        if lag > _LAG_LIMIT_S and standbys.get(server) == 1
    }


def disk_full(metrics: FleetMetrics) -> Violations:
    free = _highest(metrics.processes, m.DISK_FREE, "folder")
    size = _highest(metrics.processes, m.DISK_SIZE, "folder")
    return {
        folder: f"The disk of {folder} is almost full: {left / 2**20:,.0f} MB are free"
        for folder, left in free.items()
        if left < _DISK_LEAST or (size.get(folder) and left / size[folder] < _DISK_SHARE)
    }


def _slow_share(history: MetricHistory, within_s: float) -> tuple[float, float]:
    """Return the share of slow requests that move money, and how many there were."""
    count = history.increase(m.COUNTS, within_s, **{m.MONEY: "yes"})
    quick = history.increase(m.BUCKETS, within_s, le="0.25", **{m.MONEY: "yes"})
    return (1 - quick / count if count else 0.0), count


def _highest(history: MetricHistory, name: str, label: str) -> dict[str, float]:
    """Return the highest value by a label: what the database knows, every process reports."""
    highest: dict[str, float] = {}
    for labels, value in history.labelled(name).items():
        key = dict(labels).get(label, "")
        highest[key] = max(highest.get(key, value), value)
    return highest


CONDITIONS = (
    Condition(
        "InstancesDown",
        "page",
        "instance-no-answer",
        instances_down,
        for_s=15,
        keep_s=60,
        sources=(),
    ),
    Condition("ErrorsFast", "page", "bad-release", errors_fast, for_s=60, sources=("balancer",)),
    Condition("MoneySlowFast", "page", "overloaded", money_slow_fast, for_s=120),
    Condition("LedgerUnbalanced", "page", "ledger-not-balanced", ledger_unbalanced, keep_s=60),
    Condition("WriteMaybeLost", "page", "writes-maybe-lost", write_maybe_lost),
    Condition("QueueLate", "ticket", "queue-grows", queue_late, for_s=60),
    Condition("NoWorker", "page", "queue-grows", no_worker, for_s=30, keep_s=60),
    Condition(
        "DatabaseUnreachable",
        "page",
        "database-not-reachable",
        database_unreachable,
        for_s=15,
        keep_s=60,
    ),
    Condition("ReplicaLag", "ticket", "replica-lags", replica_lag, for_s=30),
    Condition("DiskFull", "page", "disk-full", disk_full, for_s=30),
)
# While the first one fires, the others are its symptoms: they are shown and not sent.
SYMPTOMS = {
    "DatabaseUnreachable": frozenset(
        ("InstancesDown", "ErrorsFast", "MoneySlowFast", "QueueLate", "NoWorker", "ReplicaLag")
    ),
    "InstancesDown": frozenset(("ErrorsFast", "MoneySlowFast")),
}
