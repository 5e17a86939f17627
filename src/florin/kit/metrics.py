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
pool_limit = Gauge("florin_pool_limit", "Connections the pool may open.", registry=registry)
pool_open = Gauge("florin_pool_open", "Connections the pool has open.", registry=registry)
pool_idle = Gauge("florin_pool_idle", "Connections nobody uses now.", registry=registry)
pool_timeouts = Counter(
    "florin_pool_timeouts_total", "Waits for a connection that gave up.", registry=registry
)
