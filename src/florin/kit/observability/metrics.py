"""Metrics: every metric of a process, declared on one page."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

requests = Counter(
    "florin_http_requests_total",
    "Requests answered.",
    ["method", "route", "status"],
    registry=registry,
)
request_seconds = Histogram(
    "florin_http_request_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=_SECONDS,
    registry=registry,
)
in_flight = Gauge("florin_http_in_flight", "Requests being answered.", registry=registry)
event_streams = Gauge("florin_event_streams", "Event streams that are open.", registry=registry)
refusals = Counter(
    "florin_refusals_total", "Requests refused, by code.", ["code"], registry=registry
)
batch_items = Histogram(
    "florin_ledger_batch_items",
    "Items that shared one call of the ledger.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    registry=registry,
)
ledger_seconds = Histogram(
    "florin_ledger_call_seconds",
    "Time of one call of the ledger, its commit included.",
    buckets=_SECONDS,
    registry=registry,
)
limited = Counter(
    "florin_limited_total",
    "Attempts refused because there were too many.",
    ["kind"],
    registry=registry,
)
limits_alone = Counter(
    "florin_limits_alone_total",
    "Counts of limits made by this process alone, Valkey being away or slow.",
    registry=registry,
)
ledger_waiting = Gauge(
    "florin_ledger_waiting", "Items waiting for a call of the ledger.", registry=registry
)
pool_limit = Gauge(
    "florin_pool_limit", "Connections the pool may open.", ["server"], registry=registry
)
pool_open = Gauge(
    "florin_pool_open", "Connections the pool has open.", ["server"], registry=registry
)
pool_idle = Gauge("florin_pool_idle", "Connections nobody uses now.", ["server"], registry=registry)
pool_waiting = Gauge(
    "florin_pool_waiting", "Who waits for a connection now.", ["server"], registry=registry
)
pool_wait_seconds = Histogram(
    "florin_pool_wait_seconds",
    "Time until a connection was lent, where none was idle.",
    ["server"],
    buckets=_SECONDS,
    registry=registry,
)
pool_timeouts = Counter(
    "florin_pool_timeouts_total",
    "Waits for a connection that gave up.",
    ["server"],
    registry=registry,
)
replica_reads = Counter(
    "florin_replica_reads_total",
    "Reads that a replica may answer: who was asked, and what came of it or why.",
    ["server", "why"],
    registry=registry,
)
replica_lag_bytes = Gauge(
    "florin_replica_lag_bytes", "Log the replica has not replayed.", ["server"], registry=registry
)
replica_lag_seconds = Gauge(
    "florin_replica_lag_seconds",
    "Age of the last heartbeat the replica replayed; infinite when it is cut off.",
    ["server"],
    registry=registry,
)
replica_usable = Gauge(
    "florin_replica_usable", "Whether reads go to the replica.", ["server"], registry=registry
)
writes_maybe_lost = Counter(
    "florin_writes_maybe_lost_total",
    "Positions given to callers that the primary's log does not reach.",
    ["told_by"],
    registry=registry,
)
tokens_failed = Counter(
    "florin_tokens_failed_total",
    "Positions that could not be kept in Valkey; their writers waited for the replicas.",
    registry=registry,
)
valkey_failures = Counter(
    "florin_valkey_failures_total",
    "Commands that Valkey did not answer, by reason.",
    ["reason"],
    registry=registry,
)
valkey_open = Gauge(
    "florin_valkey_breaker_open",
    "1 while Valkey is not asked because it failed.",
    registry=registry,
)

# The queues. Of one process: what it ran. Of the database, by every process alike: the gauges.
_RUN_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900)
queue_jobs = Counter(
    "florin_queue_jobs_total",
    "Jobs this worker completed, saw failing, and gave up (dead).",
    ["queue", "outcome"],
    registry=registry,
)
queue_fenced = Counter(
    "florin_queue_fenced_total",
    "Outcomes refused because the lease was lost: the job ran elsewhere, too.",
    ["queue"],
    registry=registry,
)
queue_wait_seconds = Histogram(
    "florin_queue_wait_seconds",
    "Time from a job being due to its begin.",
    ["queue"],
    buckets=_RUN_SECONDS,
    registry=registry,
)
queue_run_seconds = Histogram(
    "florin_queue_run_seconds",
    "Time a job ran.",
    ["queue"],
    buckets=_RUN_SECONDS,
    registry=registry,
)
queue_busy = Gauge("florin_queue_busy", "Jobs this worker runs now.", registry=registry)
queue_length = Gauge(
    "florin_queue_length",
    "Jobs of a queue that are waiting, delayed, active, dead.",
    ["queue", "state"],
    registry=registry,
)
queue_totals = Gauge(
    "florin_queue_totals",
    "Jobs of a queue that arrived, were completed, failed, died, in the whole fleet, ever.",
    ["queue", "what"],
    registry=registry,
)
queue_oldest_seconds = Gauge(
    "florin_queue_oldest_seconds", "Age of the oldest waiting job.", ["queue"], registry=registry
)
queue_workers = Gauge(
    "florin_queue_workers",
    "Workers of the fleet, by state: live, stopping, silent.",
    ["state"],
    registry=registry,
)
outbox_waiting = Gauge("florin_outbox_waiting", "Rows of the outbox.", registry=registry)
outbox_oldest_seconds = Gauge(
    "florin_outbox_oldest_seconds", "Age of the outbox's oldest row.", registry=registry
)
