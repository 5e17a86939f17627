"""Generate: write the dashboards of this folder. Run it after a change: python deploy/grafana/generate.py.

tests/deploy/test_dashboards.py fails when a file differs from what this writes, and asks a running
fleet's Prometheus for every query.
"""
# ruff: noqa: E501, INP001 -- a query is not broken; this folder is no package

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
COLUMNS, HEIGHT, PER_ROW = 24, 8, 3
MONEY = (
    'method="POST",route=~"/api/v1/(redemptions|refunds|loads|transfers|adjustments|holds|cards).*"'
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph, or one number with `single`; `queries` are pairs of an expression and a legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    single: bool = False
    red_from: float | None = None  # the value from which on it is shown in red


def graph(title: str, unit: str, *queries: tuple[str, str], text: str = "") -> Panel:
    return Panel(title, unit, queries, text)


def number(title: str, unit: str, query: str, *, red_from: float | None = None) -> Panel:
    return Panel(title, unit, ((query, ""),), single=True, red_from=red_from)


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """Return the quantile of a histogram over five minutes."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}[5m])))"


LATENCY = "florin_http_request_seconds"
LB = 'haproxy_frontend_http_responses_total{proxy="public"'

DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "overview": (
        "Florin: overview",
        (
            number(
                "Instances that serve",
                "none",
                'max(haproxy_backend_active_servers{proxy="roundrobin"})',
            ),
            number("Requests", "reqps", f"sum(rate({LB}}}[1m]))"),
            number(
                "Failed requests, an hour",
                "percentunit",
                "florin:errors:ratio_rate1h",
                red_from=0.001,
            ),
            number("Slowest 1 % begins at", "s", quantile(0.99, LATENCY)),
            number("Ledger does not balance", "none", "max(florin_ledger_unbalanced)", red_from=1),
            number(
                "Alerts that fire",
                "none",
                'count(ALERTS{alertstate="firing",severity!="none"}) or vector(0)',
                red_from=1,
            ),
            graph("Requests by status", "reqps", (f"sum by (code) (rate({LB}}}[1m]))", "{{code}}")),
            graph(
                "Time to answer",
                "s",
                (quantile(0.5, LATENCY), "half within"),
                (quantile(0.99, LATENCY), "99 % within"),
            ),
            graph(
                "Parts that are down",
                "none",
                ("florin_part_up == 0 or on () vector(0)", "{{part}}"),
            ),
            graph(
                "CPU by part",
                "percentunit",
                ("rate(florin_part_cpu_seconds_total[1m])", "{{part}}"),
            ),
            graph("Memory by part", "bytes", ("florin_part_resident_memory_bytes", "{{part}}")),
            graph(
                "Free disk",
                "percentunit",
                ("florin_disk_free_bytes / florin_disk_size_bytes", "{{folder}}"),
            ),
            graph(
                "Memory of the machine that is available",
                "percentunit",
                (
                    "florin_machine_memory_available_bytes / florin_machine_memory_bytes",
                    "available",
                ),
            ),
            graph(
                "Load per processor", "none", ("florin_machine_load1 / florin_machine_cpus", "load")
            ),
            graph(
                "Age of backups",
                "s",
                ("time() - (florin_backup_timestamp_seconds > 0) or on () vector(0)", "{{what}}"),
            ),
        ),
    ),
    "api": (
        "Florin: API",
        (
            graph(
                "Requests by route",
                "reqps",
                (
                    "sum by (method, route) (rate(florin_http_requests_total[1m])) > 0 or on () vector(0)",
                    "{{method}} {{route}}",
                ),
            ),
            graph(
                "Errors by route",
                "reqps",
                (
                    'sum by (method, route) (rate(florin_http_requests_total{status=~"5.."}[1m])) > 0 or on () vector(0)',
                    "{{method}} {{route}}",
                ),
            ),
            graph(
                "99 % within, by route",
                "s",
                (quantile(0.99, LATENCY, "method, route"), "{{method}} {{route}}"),
            ),
            graph(
                "Share of failed requests that move money",
                "percentunit",
                ("florin:money_errors:ratio_rate5m", "5 minutes"),
                ("florin:money_errors:ratio_rate1h", "an hour"),
            ),
            graph(
                "Share of requests that move money above 250 ms",
                "percentunit",
                ("florin:slow_money:ratio_rate5m", "5 minutes"),
                ("florin:slow_money:ratio_rate1h", "an hour"),
            ),
            graph("Requests in flight", "none", ("florin_http_in_flight", "{{instance}}")),
            graph(
                "Refusals by code",
                "reqps",
                (
                    "sum by (code) (rate(florin_refusals_total[5m])) > 0 or on () vector(0)",
                    "{{code}}",
                ),
            ),
            graph(
                "Refused by rate limits",
                "reqps",
                ("sum by (kind) (rate(florin_limited_total[5m]))", "{{kind}}"),
            ),
            graph("Open event streams", "none", ("florin_event_streams", "{{instance}}")),
            graph(
                "Event loop lag, 99 % below",
                "s",
                (quantile(0.99, "florin_event_loop_lag_seconds", "instance"), "{{instance}}"),
            ),
            graph("CPU", "percentunit", ("rate(process_cpu_seconds_total[1m])", "{{instance}}")),
            graph("Memory", "bytes", ("process_resident_memory_bytes", "{{instance}}")),
            graph("Open files", "none", ("process_open_fds", "{{instance}}")),
            graph(
                "Balancer: sessions",
                "none",
                ('haproxy_frontend_current_sessions{proxy="public"}', "sessions"),
                ('haproxy_frontend_limit_sessions{proxy="public"}', "limit"),
            ),
            graph(
                "Balancer: retries",
                "reqps",
                ("sum by (proxy) (rate(haproxy_backend_retry_warnings_total[5m]))", "{{proxy}}"),
            ),
        ),
    ),
    "money": (
        "Florin: ledger and money",
        (
            number(
                "Merchants and currencies that do not balance",
                "none",
                "max(florin_ledger_unbalanced)",
                red_from=1,
            ),
            number(
                "Ledger compared",
                "s",
                "time() - max(florin_ledger_checked_timestamp_seconds)",
                red_from=300,
            ),
            number(
                "Writes that may be lost", "none", "sum(florin_writes_maybe_lost_total)", red_from=1
            ),
            graph(
                "Balance of all cards, minor units",
                "none",
                ("max by (currency) (florin_ledger_liability_minor_units)", "{{currency}}"),
            ),
            graph(
                "Money without an entry, minor units",
                "none",
                ("max by (currency) (florin_ledger_difference_minor_units)", "{{currency}}"),
            ),
            graph(
                "Redeemed per minute, minor units",
                "none",
                (
                    'max by (currency) (rate(florin_ledger_moved_minor_units_total{kind="redeem"}[5m])) * 60',
                    "{{currency}}",
                ),
            ),
            graph(
                "Moved per minute by kind, minor units",
                "none",
                (
                    "max by (kind, currency) (rate(florin_ledger_moved_minor_units_total[5m])) * 60",
                    "{{kind}} {{currency}}",
                ),
            ),
            graph(
                "Entries by kind",
                "ops",
                (
                    "max by (kind, currency) (rate(florin_ledger_entries_total[5m]))",
                    "{{kind}} {{currency}}",
                ),
            ),
            graph(
                "Call of the ledger",
                "s",
                (quantile(0.5, "florin_ledger_call_seconds"), "half within"),
                (quantile(0.99, "florin_ledger_call_seconds"), "99 % within"),
            ),
            graph(
                "Requests in a call, half below",
                "none",
                (quantile(0.5, "florin_ledger_batch_items"), "requests"),
            ),
            graph(
                "Requests that wait for a call", "none", ("florin_ledger_waiting", "{{instance}}")
            ),
            graph(
                "Attempts to pay",
                "reqps",
                (
                    "sum by (provider, outcome) (rate(florin_payment_attempts_total[5m]))",
                    "{{provider}} {{outcome}}",
                ),
            ),
            graph(
                "Requests to gateways",
                "reqps",
                (
                    "sum by (provider, outcome) (rate(florin_gateway_requests_total[5m]))",
                    "{{provider}} {{outcome}}",
                ),
            ),
            graph(
                "Disputes",
                "none",
                ("max(florin_disputes_open)", "open"),
                ("max(florin_disputes_due)", "to be answered within three days"),
            ),
            graph(
                "Wrong codes refused",
                "reqps",
                ('sum by (kind) (rate(florin_limited_total{kind="code"}[5m]))', "{{kind}}"),
            ),
            graph(
                "Refusals of money",
                "reqps",
                (
                    'sum by (code) (rate(florin_refusals_total{code=~"card_.*|insufficient_funds|pin_.*|hold_.*"}[5m]))',
                    "{{code}}",
                ),
            ),
            graph("Time of the comparison", "s", ("max(florin_ledger_check_seconds)", "seconds")),
        ),
    ),
    "database": (
        "Florin: database",
        (
            graph(
                "Servers",
                "none",
                ("florin_postgres_up", "{{server}} answers"),
                ("florin_postgres_primary", "{{server}} is primary"),
            ),
            graph(
                "Connections",
                "none",
                ("max(florin_database_connections)", "open"),
                ("max(florin_database_connections_limit)", "limit"),
            ),
            graph(
                "Pools: open connections", "none", ("florin_pool_open", "{{instance}} {{server}}")
            ),
            graph(
                "Pools: requests that wait",
                "none",
                ("florin_pool_waiting", "{{instance}} {{server}}"),
            ),
            graph(
                "Pools: wait, 95 % within",
                "s",
                (quantile(0.95, "florin_pool_wait_seconds", "server"), "{{server}}"),
            ),
            graph(
                "Pools: time-outs",
                "ops",
                ("sum by (server) (rate(florin_pool_timeouts_total[5m]))", "{{server}}"),
            ),
            graph(
                "Replicas: lag", "s", ("max by (server) (florin_replica_lag_seconds)", "{{server}}")
            ),
            graph(
                "Replicas: lag in bytes",
                "bytes",
                ("max by (server) (florin_replica_lag_bytes)", "{{server}}"),
            ),
            graph("Replicas that stream", "none", ("florin_postgres_standbys", "from {{server}}")),
            graph(
                "Reads by server",
                "ops",
                (
                    "sum by (server, why) (rate(florin_replica_reads_total[5m]))",
                    "{{server}} {{why}}",
                ),
            ),
            graph("Waits for locks", "none", ("max(florin_database_lock_waiters)", "waiting")),
            graph(
                "Oldest idle transaction",
                "s",
                ("max(florin_database_idle_transaction_seconds)", "age"),
            ),
            graph(
                "Age of transaction ids",
                "none",
                ("max(florin_database_transaction_id_age)", "transactions"),
            ),
            graph("Size", "bytes", ("max(florin_database_size_bytes)", "database")),
            graph(
                "Log files archived",
                "ops",
                ("rate(florin_postgres_archived_total[5m])", "{{server}}"),
                ("rate(florin_postgres_archive_failures_total[5m])", "{{server}}: failed"),
            ),
            graph(
                "Changes of the primary",
                "none",
                ("florin_postgres_primary_changes_total", "since the start"),
            ),
            graph(
                "CPU of PostgreSQL",
                "percentunit",
                ('rate(florin_part_cpu_seconds_total{role=~"postgres-.*"}[1m])', "{{part}}"),
            ),
            graph(
                "Memory of PostgreSQL",
                "bytes",
                ('florin_part_resident_memory_bytes{role=~"postgres-.*"}', "{{part}}"),
            ),
        ),
    ),
    "queues": (
        "Florin: queues and workers",
        (
            graph(
                "Jobs that wait",
                "none",
                ('max by (queue) (florin_queue_length{state="waiting"})', "{{queue}}"),
            ),
            graph(
                "Oldest job",
                "s",
                ("max by (queue) (florin_queue_oldest_seconds)", "{{queue}}"),
                ("max by (queue) (florin_queue_objective_seconds)", "{{queue}}: objective"),
            ),
            graph(
                "Dead jobs",
                "none",
                ('max by (queue) (florin_queue_length{state="dead"})', "{{queue}}"),
            ),
            graph(
                "Jobs that arrive and end",
                "ops",
                (
                    "sum by (event) (max by (queue, event) (rate(florin_queue_job_events_total[5m])))",
                    "{{event}}",
                ),
            ),
            graph(
                "Attempts that fail",
                "ops",
                (
                    'max by (queue) (rate(florin_queue_job_events_total{event="failed"}[5m]))',
                    "{{queue}}",
                ),
            ),
            graph(
                "Wait until the start, 95 % within",
                "s",
                (quantile(0.95, "florin_queue_wait_seconds", "queue"), "{{queue}}"),
            ),
            graph(
                "Run time, 95 % within",
                "s",
                (quantile(0.95, "florin_queue_run_seconds", "queue"), "{{queue}}"),
            ),
            graph(
                "Outcomes refused by the fence",
                "ops",
                ("sum by (queue) (rate(florin_queue_fenced_total[5m]))", "{{queue}}"),
            ),
            graph(
                "Workers",
                "none",
                ("max by (state) (florin_queue_workers)", "{{state}}"),
                ("max(florin_workers_wanted)", "wanted"),
                ("max(florin_workers_limit)", "limit"),
            ),
            graph("Jobs that run", "none", ("florin_queue_busy", "{{instance}}")),
            graph("Outbox", "none", ("max(florin_outbox_waiting)", "rows")),
            graph("Oldest row of the outbox", "s", ("max(florin_outbox_oldest_seconds)", "age")),
            graph(
                "Memory of workers",
                "bytes",
                ('process_resident_memory_bytes{instance=~"worker-.*"}', "{{instance}}"),
                ('florin_process_memory_limit_bytes{instance=~"worker-.*"}', "{{instance}}: limit"),
            ),
            graph("Errors of the autoscaler", "none", ("florin_scaling_errors_total", "errors")),
        ),
    ),
    "deploys": (
        "Florin: deploys",
        (
            graph(
                "Processes by release",
                "none",
                ("count by (release) (florin_build_info)", "{{release}}"),
            ),
            graph("A change is running", "none", ("florin_operation_running", "running")),
            graph(
                "Changes",
                "none",
                (
                    "sum by (command, outcome) (increase(florin_operations_total[1h])) > 0 or on () vector(0)",
                    "{{command}} {{outcome}}",
                ),
            ),
            graph(
                "Requests by release",
                "reqps",
                (
                    "sum by (release) (sum by (instance) (rate(florin_http_requests_total[1m])) * on (instance) group_left (release) florin_build_info)",
                    "{{release}}",
                ),
            ),
            graph(
                "Errors by release",
                "reqps",
                (
                    'sum by (release) (sum by (instance) (rate(florin_http_requests_total{status=~"5.."}[1m])) * on (instance) group_left (release) florin_build_info)',
                    "{{release}}",
                ),
            ),
            graph(
                "Mean time by release",
                "s",
                (
                    f"sum by (release) (sum by (instance) (rate({LATENCY}_sum[1m])) * on (instance) group_left (release) florin_build_info) / sum by (release) (sum by (instance) (rate({LATENCY}_count[1m])) * on (instance) group_left (release) florin_build_info)",
                    "{{release}}",
                ),
            ),
            graph("Restarts of parts", "none", ("florin_part_restarts_total", "{{part}}")),
            graph(
                "Errors of the supervisor's tasks",
                "none",
                ("florin_supervisor_task_errors_total", "{{task}}"),
            ),
            graph(
                "Balancer: servers",
                "none",
                (
                    "max by (state) (count by (proxy, state) (haproxy_server_status == 1))",
                    "{{state}}",
                ),
            ),
        ),
    ),
    "valkey": (
        "Florin: Valkey",
        (
            graph(
                "Servers",
                "none",
                ("florin_valkey_up", "{{server}} answers"),
                ("florin_valkey_primary", "{{server}} is primary"),
            ),
            graph(
                "Reached by instances",
                "none",
                ('florin_dependency_up{dependency="redis"}', "{{instance}}"),
            ),
            graph(
                "Circuit breaker is open", "none", ("florin_valkey_breaker_open", "{{instance}}")
            ),
            graph("Commands", "ops", ("rate(florin_valkey_commands_total[1m])", "{{server}}")),
            graph(
                "Failures by reason",
                "ops",
                ("sum by (reason) (rate(florin_valkey_failures_total[5m]))", "{{reason}}"),
            ),
            graph(
                "Memory",
                "bytes",
                ("florin_valkey_memory_used_bytes", "{{server}}"),
                ("florin_valkey_memory_limit_bytes", "{{server}}: limit"),
            ),
            graph(
                "Evicted keys", "ops", ("rate(florin_valkey_evicted_keys_total[5m])", "{{server}}")
            ),
            graph("Clients", "none", ("florin_valkey_clients", "{{server}}")),
            graph(
                "Limits counted without Valkey",
                "ops",
                ("sum by (instance) (rate(florin_limits_alone_total[5m]))", "{{instance}}"),
            ),
            graph(
                "Positions that could not be stored",
                "ops",
                ("sum by (instance) (rate(florin_tokens_failed_total[5m]))", "{{instance}}"),
            ),
            graph(
                "Changes of the primary",
                "none",
                ("florin_valkey_primary_changes_total", "since the start"),
            ),
        ),
    ),
}


def dashboard(name: str, title: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """Return a dashboard in Grafana's JSON model."""
    return {
        "uid": f"florin-{name}",
        "title": title,
        "tags": ["florin"],
        "schemaVersion": 38,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "tags": ["florin"], "title": "Florin", "asDropdown": True}
        ],
        "templating": {
            "list": [
                {
                    "name": "source",
                    "type": "datasource",
                    "query": "prometheus",
                    "label": "Prometheus",
                }
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Changes of the fleet",
                    "datasource": {"type": "prometheus", "uid": "${source}"},
                    "enable": True,
                    "expr": "florin_operation_running == 1",
                    "iconColor": "blue",
                    "titleFormat": "The fleet is being changed",
                }
            ]
        },
        "panels": [shown(panel, at) for at, panel in enumerate(panels)],
    }


def shown(panel: Panel, at: int) -> dict[str, Any]:
    width = COLUMNS // PER_ROW
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    return {
        "id": at + 1,
        "type": "stat" if panel.single else "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {
            "x": at % PER_ROW * width,
            "y": at // PER_ROW * HEIGHT,
            "w": width,
            "h": HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + n), "expr": query, "legendFormat": legend}
            for n, (query, legend) in enumerate(panel.queries)
        ],
    }


def render() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        f"{name}.json": json.dumps(dashboard(name, title, panels), indent=1) + "\n"
        for name, (title, panels) in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for file, text in render().items():
        (FOLDER / file).write_text(text, "utf-8")
