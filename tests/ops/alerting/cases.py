"""Cases: for each condition a series in which it must fire, and one in which it must not."""

from dataclasses import dataclass

ERRORS = 'haproxy_frontend_http_responses_total{proxy="public",code="5xx"}'
ANSWERS = 'haproxy_frontend_http_responses_total{proxy="public",code="2xx"}'
_MONEY = 'method="POST",route="/api/v1/redemptions",instance="api-1"'
COUNT = f"florin_http_request_seconds_count{{{_MONEY}}}"
QUICK = f'florin_http_request_seconds_bucket{{{_MONEY},le="0.25"}}'
LIVE = 'florin_queue_workers{state="live",instance="api-1"}'
OLDEST = 'florin_queue_oldest_seconds{queue="bulk",instance="api-1"}'
OBJECTIVE = 'florin_queue_objective_seconds{queue="bulk",instance="api-1"}'
DATABASE = 'florin_dependency_up{dependency="database",instance="api-1"}'
LAG = 'florin_replica_lag_seconds{server="postgres-2",instance="api-1"}'
STANDBY = LAG.replace("lag_seconds", "standby")
FREE = 'florin_disk_free_bytes{folder="data"}'
SIZE = 'florin_disk_size_bytes{folder="data"}'
LOST = 'florin_writes_maybe_lost_total{instance="api-1",reported_by="us"}'
ACTIVE = 'haproxy_backend_active_servers{proxy="roundrobin"}'
UP = 'up{job="florin-api",instance="api-1"}'


@dataclass(frozen=True, slots=True)
class AlertCase:
    """Values every 15 seconds; `label` is that of the alert which fires at the end, None: none."""

    alert: str
    series: dict[str, str]
    steps: int
    label: str | None


# In words: every second 100 answers, of which five fail; and so on.
CASES = {
    "no server takes requests": AlertCase("InstancesDown", {ACTIVE: "2x4 0x8"}, 13, ""),
    "a server is away for a moment": AlertCase("InstancesDown", {ACTIVE: "2x4 0 2x8"}, 13, None),
    "no instance answers": AlertCase("InstancesDown", {ACTIVE: "2x12", UP: "1x4 0x8"}, 13, ""),
    "one answer in twenty fails": AlertCase(
        "ErrorsFast", {ANSWERS: "0+1425x30", ERRORS: "0+75x30"}, 30, ""
    ),
    "one answer in two hundred fails": AlertCase(
        "ErrorsFast", {ANSWERS: "0+1492x30", ERRORS: "0+8x30"}, 30, None
    ),
    "two of ten answers fail": AlertCase(
        "ErrorsFast", {ANSWERS: "0x10 8x20", ERRORS: "0x10 2x20"}, 30, None
    ),
    "errors are over for ten minutes": AlertCase(
        "ErrorsFast", {ANSWERS: "0+1425x90", ERRORS: "0+75x30 2250x60"}, 90, None
    ),
    "a third of the money is slow": AlertCase(
        "MoneySlowFast", {COUNT: "0+300x30", QUICK: "0+200x30"}, 30, ""
    ),
    "one in ten of the money is slow": AlertCase(
        "MoneySlowFast", {COUNT: "0+300x30", QUICK: "0+270x30"}, 30, None
    ),
    "the ledger differs": AlertCase(
        "LedgerUnbalanced", {'florin_ledger_unbalanced{instance="api-1"}': "0x4 1x4"}, 9, ""
    ),
    "the ledger is right": AlertCase(
        "LedgerUnbalanced", {'florin_ledger_unbalanced{instance="api-1"}': "0x9"}, 9, None
    ),
    "a write may be lost": AlertCase("WriteMaybeLost", {LOST: "0x6 1x10"}, 12, ""),
    "a write was lost an hour ago": AlertCase("WriteMaybeLost", {LOST: "0x6 1x80"}, 80, None),
    "an instance starts again": AlertCase("WriteMaybeLost", {LOST: "3x6 0x6"}, 12, None),
    "a queue is late": AlertCase("QueueLate", {OLDEST: "0+20x20", OBJECTIVE: "60x20"}, 20, "bulk"),
    "a queue without objective": AlertCase("QueueLate", {OLDEST: "0+20x20"}, 20, None),
    "a queue was late for a moment": AlertCase(
        "QueueLate", {OLDEST: "0 90 90 0x17", OBJECTIVE: "60x20"}, 20, None
    ),
    "no worker lives": AlertCase("NoWorker", {LIVE: "1x4 0x8"}, 12, ""),
    "no worker is wanted": AlertCase(
        "NoWorker", {LIVE: "1x4 0x8", "florin_workers_wanted": "1x3 0x9"}, 12, None
    ),
    "no instance reaches the database": AlertCase(
        "DatabaseUnreachable", {DATABASE: "1x4 0x8"}, 12, ""
    ),
    "one instance reaches the database": AlertCase(
        "DatabaseUnreachable",
        {DATABASE: "1x4 0x8", DATABASE.replace("api-1", "api-2"): "1x12"},
        12,
        None,
    ),
    "a replica is behind": AlertCase(
        "ReplicaLag", {LAG: "0x4 41x8", STANDBY: "1x12"}, 12, "postgres-2"
    ),
    "a replica follows": AlertCase("ReplicaLag", {LAG: "0.2x12", STANDBY: "1x12"}, 12, None),
    "a primary among the replicas": AlertCase(
        "ReplicaLag", {LAG: "41x12", STANDBY: "0x12"}, 12, None
    ),
    "a disk has three percent left": AlertCase(
        "DiskFull", {FREE: "30000000000x12", SIZE: "1000000000000x12"}, 12, "data"
    ),
    "a small disk has 100 MB left": AlertCase(
        "DiskFull", {FREE: "100000000x12", SIZE: "1000000000x12"}, 12, "data"
    ),
    "a disk has room": AlertCase(
        "DiskFull", {FREE: "300000000000x12", SIZE: "1000000000000x12"}, 12, None
    ),
}
