"""Database metrics: what the database knows, so that every process reports the same value.

Use `max by (…)` over them, never `sum`. The values are those of the last reading.
"""

from prometheus_client import Gauge

from florin.kit.observability.measured_counter import MeasuredCounter
from florin.kit.observability.metrics import registry

JOB_EVENTS = ("arrived", "completed", "failed", "died")
JOB_STATES = ("waiting", "delayed", "active", "dead")
WEBHOOK_ENDPOINT_STATES = ("enabled", "failing", "disabled")
WORKER_STATES = ("live", "stopping", "silent")


def _counter(name: str, text: str, *labels: str) -> MeasuredCounter:
    return MeasuredCounter(name, text, labels, registry=registry)


queue_length = Gauge(
    "florin_queue_length",
    "Jobs of a queue by state: waiting, delayed, active, dead.",
    ["queue", "state"],
    registry=registry,
)
queue_events = _counter(
    "florin_queue_job_events_total",
    "Jobs of a queue that arrived, were completed, failed or died, in the whole fleet.",
    "queue",
    "event",
)
queue_oldest_seconds = Gauge(
    "florin_queue_oldest_seconds", "Age of the oldest waiting job.", ["queue"], registry=registry
)
queue_objective_seconds = Gauge(
    "florin_queue_objective_seconds",
    "Time within which a job of the queue should start; only queues with an objective.",
    ["queue"],
    registry=registry,
)
queue_workers = Gauge(
    "florin_queue_workers",
    "Workers of the fleet, by state: live, stopping, silent.",
    ["state"],
    registry=registry,
)
outbox_waiting = Gauge("florin_outbox_waiting", "Rows of the outbox.", registry=registry)
outbox_oldest_seconds = Gauge(
    "florin_outbox_oldest_seconds", "Age of the oldest row of the outbox.", registry=registry
)

deliveries_due = Gauge(
    "florin_deliveries_due",
    "Messages to people that are due and not sent, without those of test merchants.",
    registry=registry,
)
deliveries_oldest_seconds = Gauge(
    "florin_deliveries_oldest_seconds", "How long the oldest of them is due.", registry=registry
)

webhook_endpoints = Gauge(
    "florin_webhook_endpoints",
    "Webhook endpoints by state: enabled, failing since their last attempt, disabled.",
    ["state"],
    registry=registry,
)
for _state in WEBHOOK_ENDPOINT_STATES:
    webhook_endpoints.labels(_state)
webhook_oldest_seconds = Gauge(
    "florin_webhook_oldest_seconds",
    "How long the oldest due webhook waits, of endpoints that do not fail.",
    registry=registry,
)

unexplained_payments = Gauge(
    "florin_unexplained_payments",
    "Payments whose money has no counterpart: neither cards nor a refund.",
    registry=registry,
)
unexplained_oldest_seconds = Gauge(
    "florin_unexplained_payments_oldest_seconds",
    "How long the oldest of them waits for a decision.",
    registry=registry,
)

disputes_open = Gauge(
    "florin_disputes_open",
    "Disputes that their gateways have not decided, without those of test merchants.",
    registry=registry,
)
disputes_due = Gauge(
    "florin_disputes_due",
    "Of them, those that the merchant has to answer within three days, or had to.",
    registry=registry,
)

database_connections = Gauge(
    "florin_database_connections",
    "Connections of clients to the primary, of all programs.",
    registry=registry,
)
database_connections_limit = Gauge(
    "florin_database_connections_limit",
    "Connections that the primary accepts from roles without special rights.",
    registry=registry,
)
database_lock_waiters = Gauge(
    "florin_database_lock_waiters", "Requests of locks that wait on the primary.", registry=registry
)
database_idle_transaction_seconds = Gauge(
    "florin_database_idle_transaction_seconds",
    "Age of the oldest transaction of Florin's role in which no statement runs.",
    registry=registry,
)
database_xid_age = Gauge(
    "florin_database_transaction_id_age",
    "Transactions since the oldest one that is not frozen; PostgreSQL stops at 2 000 000 000.",
    registry=registry,
)
database_size = Gauge("florin_database_size_bytes", "Size of the database.", registry=registry)

ledger_checked = Gauge(
    "florin_ledger_checked_timestamp_seconds",
    "When the totals of the ledger were last compared with its entries; 0 for never.",
    registry=registry,
)
ledger_check_seconds = Gauge(
    "florin_ledger_check_seconds", "Duration of that comparison.", registry=registry
)
ledger_unbalanced = Gauge(
    "florin_ledger_unbalanced",
    "Merchants and currencies whose balances differ from their entries; must be 0.",
    registry=registry,
)
ledger_balanced_since = Gauge(
    "florin_ledger_balanced_since_timestamp_seconds",
    "Since when every comparison found no difference; 0 if the last one found one.",
    registry=registry,
)
ledger_difference = Gauge(
    "florin_ledger_difference_minor_units",
    "Money that no entry explains, in minor units, added up without signs.",
    ["currency"],
    registry=registry,
)
ledger_liability = Gauge(
    "florin_ledger_liability_minor_units",
    "Balance of all cards, in minor units; without test merchants.",
    ["currency"],
    registry=registry,
)
ledger_entries = _counter(
    "florin_ledger_entries_total",
    "Entries of the ledger, by kind and currency; without test merchants.",
    "kind",
    "currency",
)
ledger_moved = _counter(
    "florin_ledger_moved_minor_units_total",
    "Money moved, in minor units, by kind of entry and currency; without test merchants.",
    "kind",
    "currency",
)
