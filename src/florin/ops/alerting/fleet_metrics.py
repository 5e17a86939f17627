"""Fleet metrics: the metrics that the page and the conditions of alerts need, with their history.

They are those of /metrics/fleet and of the balancer, which Prometheus collects as well.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.samples import Sample

from florin.ops.alerting.metric_history import MetricHistory

REQUESTS = "florin_http_requests_total"
BUCKETS = "florin_http_request_seconds_bucket"
COUNTS = "florin_http_request_seconds_count"
IN_FLIGHT = "florin_http_in_flight"
WRITES_LOST = "florin_writes_maybe_lost_total"
BALANCER_REQUESTS = "haproxy_frontend_http_requests_total"
BALANCER_ANSWERS = "haproxy_frontend_http_responses_total"
ACTIVE_SERVERS = "haproxy_backend_active_servers"
LEDGER_CHECKED = "florin_ledger_checked_timestamp_seconds"
LEDGER_BALANCED_SINCE = "florin_ledger_balanced_since_timestamp_seconds"
LEDGER_UNBALANCED = "florin_ledger_unbalanced"
LEDGER_ENTRIES = "florin_ledger_entries_total"
QUEUE_OLDEST = "florin_queue_oldest_seconds"
QUEUE_OBJECTIVE = "florin_queue_objective_seconds"
QUEUE_WORKERS = "florin_queue_workers"
WORKERS_WANTED = "florin_workers_wanted"
DEPENDENCY_UP = "florin_dependency_up"
REPLICA_LAG = "florin_replica_lag_seconds"
REPLICA_STANDBY = "florin_replica_standby"
DISK_FREE = "florin_disk_free_bytes"
DISK_SIZE = "florin_disk_size_bytes"
UP = "up"  # of Prometheus; the operator process probes the instances itself

MONEY = "money"  # a label: the request moves money
_MONEY_ROUTE = re.compile(
    r"/api/v1/(redemptions|refunds|loads|transfers|adjustments|holds|cards).*"
)
_COUNTERS = {
    REQUESTS: ("instance", "status"),
    BUCKETS: ("instance", "le", MONEY),
    COUNTS: (MONEY,),
    WRITES_LOST: (),
    BALANCER_REQUESTS: ("proxy",),
    BALANCER_ANSWERS: ("proxy", "code"),
}
NAMES = frozenset(
    (
        *_COUNTERS,
        *(
            IN_FLIGHT,
            ACTIVE_SERVERS,
            DEPENDENCY_UP,
            REPLICA_LAG,
            REPLICA_STANDBY,
            DISK_FREE,
            DISK_SIZE,
        ),
        *(LEDGER_CHECKED, LEDGER_BALANCED_SINCE, LEDGER_UNBALANCED, LEDGER_ENTRIES),
        *(QUEUE_OLDEST, QUEUE_OBJECTIVE, QUEUE_WORKERS, WORKERS_WANTED),
    )
)


@dataclass(slots=True)
class FleetMetrics:
    """The collections of the balancer and of the processes; `up` has the last probes by job."""

    balancer: MetricHistory = field(default_factory=lambda: MetricHistory(_COUNTERS))
    processes: MetricHistory = field(default_factory=lambda: MetricHistory(_COUNTERS))
    up: dict[str, list[bool]] = field(default_factory=dict[str, list[bool]])

    def add_balancer(self, at: float, samples: Iterable[Sample]) -> None:
        self.balancer.add(at, samples)

    def add_processes(self, at: float, samples: Iterable[Sample]) -> None:
        self.processes.add(at, map(_classified, samples))


def _classified(sample: Sample) -> Sample:
    """Add the label `money` to the durations of requests."""
    if sample.name not in (BUCKETS, COUNTS):
        return sample
    labels = sample.labels
    money = labels.get("method") == "POST" and _MONEY_ROUTE.fullmatch(labels.get("route", ""))
    return sample._replace(labels={**labels, MONEY: "yes" if money else "no"})
