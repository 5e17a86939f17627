"""Definitions: the metrics of the supervisor, served at /metrics/fleet with those of all processes.

Series of parts appear with the part. docs/operations/metrics.md lists all metrics.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from florin.kit.observability.measured_counter import MeasuredCounter

registry = CollectorRegistry()


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=registry)


def _counter(name: str, text: str, *labels: str) -> MeasuredCounter:
    return MeasuredCounter(name, text, labels, registry=registry)


part_up = _gauge(
    "florin_part_up", "1 if the part runs and is ready, or drained by an operator.", "part", "role"
)
part_restarts = _counter(
    "florin_part_restarts_total", "Restarts of the part after it ended by itself.", "part", "role"
)
part_cpu = _counter(
    "florin_part_cpu_seconds_total",
    "CPU time of the part's processes, in user and system mode.",
    "part",
    "role",
)
part_memory = _gauge(
    "florin_part_resident_memory_bytes",
    "Memory of the part: resident memory of its main process and what its children have alone.",
    "part",
    "role",
)
part_files = _gauge(
    "florin_part_open_fds", "Open file descriptors of the part's main process.", "part", "role"
)
part_files_limit = _gauge("florin_part_max_fds", "Limit of these file descriptors.", "part", "role")

disk_free = _gauge(
    "florin_disk_free_bytes", "Free space for Florin on the disk of a folder.", "folder"
)
disk_size = _gauge("florin_disk_size_bytes", "Size of the disk of a folder.", "folder")
machine_memory = _gauge("florin_machine_memory_bytes", "Memory of the machine.")
machine_memory_available = _gauge(
    "florin_machine_memory_available_bytes", "Memory that programs can still get."
)
machine_cpus = _gauge("florin_machine_cpus", "Processors of the machine.")
machine_load = _gauge(
    "florin_machine_load1", "Processes that run or wait for a processor, mean of a minute."
)

postgres_up = _gauge("florin_postgres_up", "1 if the server answered a query.", "server")
postgres_primary = _gauge(
    "florin_postgres_primary", "1 if the server accepts writes; no series if it is down.", "server"
)
postgres_timeline = _gauge(
    "florin_postgres_timeline", "Timeline of the server; a promotion begins another.", "server"
)
postgres_standbys = _gauge(
    "florin_postgres_standbys", "Replicas that stream from this primary.", "server"
)
postgres_sync_standbys = _gauge(
    "florin_postgres_sync_standbys",
    "Replicas of which one must confirm each commit; only of a primary that waits for them.",
    "server",
)
postgres_archived = _counter(
    "florin_postgres_archived_total", "Files of the log that were archived.", "server"
)
postgres_archive_failures = _counter(
    "florin_postgres_archive_failures_total", "Attempts to archive that failed.", "server"
)
postgres_switches = _counter(
    "florin_postgres_primary_changes_total",
    "Changes of the primary since the database was created.",
)

valkey_up = _gauge("florin_valkey_up", "1 if the server answered a command.", "server")
valkey_primary = _gauge(
    "florin_valkey_primary", "1 if the server accepts writes; no series if it is down.", "server"
)
valkey_memory = _gauge("florin_valkey_memory_used_bytes", "Memory of the data.", "server")
valkey_memory_limit = _gauge(
    "florin_valkey_memory_limit_bytes", "Limit of that memory; 0 is none.", "server"
)
valkey_clients = _gauge("florin_valkey_clients", "Connections of clients.", "server")
valkey_commands = _counter(
    "florin_valkey_commands_total", "Commands that the server executed.", "server"
)
valkey_evicted = _counter(
    "florin_valkey_evicted_keys_total", "Keys removed for lack of memory.", "server"
)
valkey_changes = Counter(
    "florin_valkey_primary_changes_total",
    "Changes of the set of Valkey primaries, as this supervisor saw them.",
    registry=registry,
)

certificate_expiry = _gauge(
    "florin_certificate_expiry_timestamp_seconds",
    "When the certificate of a listener ends; no series without TLS.",
    "listener",
)
operations = Counter(
    "florin_operations_total",
    "Changes of the fleet by operators and supervisor: the command and how it ended.",
    ["command", "outcome"],
    registry=registry,
)
operation_running = _gauge("florin_operation_running", "1 while the fleet is being changed.")
supervisor_lag = Gauge(
    "florin_supervisor_event_loop_lag_seconds",
    "The latest that a timer of the supervisor's event loop fired in the last minute.",
    registry=registry,
)

COMMANDS = ("deploy", "rollback", "scale", "restart", "drain", "balance", "failover")
OUTCOMES = ("done", "undone", "failed", "refused", "cut off")


def count_operation(what: str, outcome: str) -> None:
    """Count the end of an operation; `what` is its command line."""
    if outcome not in OUTCOMES:
        return
    words = what.removeprefix("florin ").split()
    command = words[0] if words and words[0] in COMMANDS else "other"
    operations.labels(command, outcome).inc()


for _command in (*COMMANDS, "other"):
    for _outcome in OUTCOMES:
        operations.labels(_command, _outcome)
