"""Metrics: the Prometheus metrics of every process.

Named by https://prometheus.io/docs/practices/naming/; docs/operations/metrics.md lists them. Labels
are bounded: routes are templates, never paths. What the database counts is in `database_metrics`.
"""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # a second series for each counter, which no query needs
registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
build = Gauge(
    "florin_build_info",
    "Always 1; the label is the release that the process runs.",
    ["release"],
    registry=registry,
)
memory_limit = Gauge(
    "florin_process_memory_limit_bytes",
    "Memory that the process may use: the lowest of its own limit, its container's, the machine's.",
    registry=registry,
)
event_loop_lag = Histogram(
    "florin_event_loop_lag_seconds",
    "How late a timer of the event loop fires, sampled four times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=registry,
)
dependency_up = Gauge(
    "florin_dependency_up",
    "1 if the last probe of the dependency succeeded.",
    ["dependency"],
    registry=registry,
)

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
    "Attempts refused by a rate limit.",
    ["kind"],
    registry=registry,
)
limits_alone = Counter(
    "florin_limits_alone_total",
    "Rate limit checks by this process alone, because Valkey was unreachable or slow.",
    registry=registry,
)
ledger_waiting = Gauge(
    "florin_ledger_waiting", "Items waiting for a call of the ledger.", registry=registry
)
delivery_attempts = Counter(
    "florin_delivery_attempts_total",
    "Attempts to send a message, by the state of its delivery afterwards.",
    ["channel", "state"],
    registry=registry,
)
gateway_requests = Counter(
    "florin_gateway_requests_total",
    "Requests to payment gateways: answered, refused definitely, or unavailable.",
    ["provider", "outcome"],
    registry=registry,
)
payment_attempts = Counter(
    "florin_payment_attempts_total",
    "Attempts to pay an order that ended, also those after which the buyer may try another card.",
    ["provider", "outcome"],
    registry=registry,
)
pool_limit = Gauge(
    "florin_pool_limit",
    "The most connections that the pool may open.",
    ["server"],
    registry=registry,
)
pool_open = Gauge(
    "florin_pool_open", "Open connections of the pool.", ["server"], registry=registry
)
pool_idle = Gauge(
    "florin_pool_idle", "Idle connections of the pool.", ["server"], registry=registry
)
pool_waiting = Gauge(
    "florin_pool_waiting", "Callers that wait for a connection.", ["server"], registry=registry
)
pool_wait_seconds = Histogram(
    "florin_pool_wait_seconds",
    "Time that callers waited for a connection when none was idle.",
    ["server"],
    buckets=_SECONDS,
    registry=registry,
)
pool_timeouts = Counter(
    "florin_pool_timeouts_total",
    "Waits for a connection that timed out.",
    ["server"],
    registry=registry,
)
replica_reads = Counter(
    "florin_replica_reads_total",
    "Reads that a replica may answer: the server that answered, and the outcome or reason.",
    ["server", "why"],
    registry=registry,
)
replica_lag_bytes = Gauge(
    "florin_replica_lag_bytes",
    "Log that the replica has not replayed.",
    ["server"],
    registry=registry,
)
replica_lag_seconds = Gauge(
    "florin_replica_lag_seconds",
    "Age of the last heartbeat that the replica replayed; infinite when it is disconnected.",
    ["server"],
    registry=registry,
)
replica_standby = Gauge(
    "florin_replica_standby",
    "0 if the server of this address is the primary now, so that its lag says nothing.",
    ["server"],
    registry=registry,
)
replica_usable = Gauge(
    "florin_replica_usable", "Whether reads go to the replica.", ["server"], registry=registry
)
writes_maybe_lost = Counter(
    "florin_writes_maybe_lost_total",
    "Positions sent to callers that the primary's log does not reach.",
    ["reported_by"],
    registry=registry,
)
tokens_failed = Counter(
    "florin_tokens_failed_total",
    "Positions that could not be stored in Valkey; their writers waited for the replicas.",
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
    "1 while the circuit breaker is open: no command is sent to Valkey after failures.",
    registry=registry,
)

# Queues: the jobs of one worker.
_RUN_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900)
queue_jobs = Counter(
    "florin_queue_jobs_total",
    "Jobs of this worker by outcome: completed, failed, dead (no attempts left).",
    ["queue", "outcome"],
    registry=registry,
)
queue_fenced = Counter(
    "florin_queue_fenced_total",
    "Outcomes refused by the fence: the lease was lost and the job also ran elsewhere.",
    ["queue"],
    registry=registry,
)
queue_wait_seconds = Histogram(
    "florin_queue_wait_seconds",
    "Time from when a job was due until it started.",
    ["queue"],
    buckets=_RUN_SECONDS,
    registry=registry,
)
queue_run_seconds = Histogram(
    "florin_queue_run_seconds",
    "Run time of a job.",
    ["queue"],
    buckets=_RUN_SECONDS,
    registry=registry,
)
webhook_attempts = Counter(
    "florin_webhook_attempts_total",
    "Attempts to deliver a webhook, by outcome: delivered, failed.",
    ["outcome"],
    registry=registry,
)
for _outcome in ("delivered", "failed"):  # all series from the start
    webhook_attempts.labels(_outcome)
webhook_attempt_seconds = Histogram(
    "florin_webhook_attempt_seconds",
    "Time that an endpoint took to answer, or until the attempt was given up.",
    buckets=_SECONDS,
    registry=registry,
)
webhook_endpoints_disabled = Counter(
    "florin_webhook_endpoints_disabled_total",
    "Webhook endpoints that were disabled after days of failure.",
    registry=registry,
)
queue_busy = Gauge("florin_queue_busy", "Jobs that this worker runs now.", registry=registry)


def zero_requests(routes: Iterable[tuple[str, str]], statuses: Iterable[int]) -> None:
    """Create the series of these routes (method, template) at 0, with each of the statuses.

    Prometheus' rate() ignores the first sample of a series, so an error that created its series
    would not count.
    """
    answered = tuple(statuses)
    for method, route in routes:
        request_seconds.labels(method, route)
        for status in answered:
            requests.labels(method, route, status)


def zero_refusals(codes: Iterable[str]) -> None:
    """Create the series of these codes at 0."""
    for code in codes:
        refusals.labels(code)


for _source in ("a caller", "us", "the store"):
    writes_maybe_lost.labels(_source)
for _state in ("left alone", "TimeoutError", "ConnectionError"):
    valkey_failures.labels(_state)
