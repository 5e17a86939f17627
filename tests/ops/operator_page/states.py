"""States: documents of the operator process for tests, made of parts that look real."""

from typing import Any

import msgspec

from florin.ops.diagnostics.serving import ServingStatus
from florin.ops.diagnostics.status import PartStatus, ProcessUsage
from florin.ops.fleet.audit_log import OperationRecord
from florin.ops.operator_page.document import (
    Age,
    Alerts,
    AlertState,
    Curves,
    DeliveryState,
    Deploy,
    InstanceTraffic,
    OperatorState,
    ReceiverState,
    Summary,
    Traffic,
    WorkerCount,
)
from florin.ops.operator_page.summary import summarize_state
from florin.ops.postgres.replication_lag import ReplicationLag

AT = "2030-11-03T17:04:12.000Z"
QUEUES = (
    *("gift-card-expiry", "expiry-reminders", "scheduled-delivery", "email-delivery"),
    *("sms-delivery", "webhook-delivery", "cleanup-tokens", "bulk", "retention"),
)
SOURCES = ("fleet", "health", "balancer", "instances", "queues", "lag")


def part(name: str, role: str, state: str = "ready", **more: Any) -> PartStatus:
    runs = state not in ("stopped", "failed")
    fields: dict[str, Any] = {
        "name": name,
        "role": role,
        "colour": "blue" if role == "api" else None,
        "release": "e9129af",
        "state": state,
        "pid": 4711 if runs else None,
        "address": "127.0.0.1:9000",
        "operations": None,
        "health": "ok" if runs else "none",
        "load": ProcessUsage(cpu=0.031, memory_mb=118.0) if runs else None,
        "lag": None,
        "queue": None,
        "uptime": 7325.0 if runs else None,
        "restarts": 0,
        "note": "",
    }
    return PartStatus(**(fields | more))


def queue(name: str, **more: Any) -> dict[str, Any]:
    fields = {"waiting": 0, "active": 0, "delayed": 0, "dead": 0, "oldest_s": 0.0}
    return {"name": name, "paused": False, "objective_s": 30.0, **fields, **more}


def fresh(**old: float) -> dict[str, Age]:
    """Return the ages of all sources: of now, but for those named, in seconds."""
    return {
        name: Age(at=AT, age_s=old.get(name, 0.4), old=name in old, error="") for name in SOURCES
    }


def quiet_state(**more: Any) -> OperatorState:
    """Return the state of a fleet in which all is well."""
    curve = [1400.0 + (n * 37) % 500 for n in range(40)]
    fields: dict[str, Any] = {
        "at": AT,
        "state": "ready",
        "home": "/srv/florin",
        "serving": ServingStatus(colour="blue", release="e9129af", standby=None),
        "parts": [
            part("supervisor", "supervisor"),
            part("postgres-1", "postgres-primary", release="PostgreSQL 18.4"),
            part("postgres-2", "postgres-replica", lag=ReplicationLag(bytes=0, seconds=0.0)),
            part("valkey-1", "valkey-primary"),
            *(part(f"api-{n}", "api") for n in (1, 2, 3, 4)),
            part("worker-1", "worker", queue="2/5"),
            part("operator", "operator"),
            part("balancer", "balancer", release="HAProxy 2.8.25"),
        ],
        "queues": [queue(name) for name in QUEUES],
        "books": {
            "balanced": True,
            "balanced_since": "2026-11-03T09:14:00.000Z",
            "unbalanced": 0,
            "entries": 48211907,
            "checked_s": 6.2,
        },
        "backups": {what: {"age_s": 3600.0, "failing": None} for what in ("taken", "shipped")},
        "function_sets": [],
        "summary": Summary(level="ok", sentence="", detail="", runbook=None),
        "release": "e9129af",
        "algorithm": "leastconn",
        "traffic": Traffic(
            requests_s=1666.0,
            peak_s=2140.0,
            errors_s=0.0,
            error_share=0.0,
            hour_requests=5_900_000,
            p50_s=0.011,
            p99_s=0.048,
            cpu=1.9,
            cores=16,
            instances={
                f"api-{n}": InstanceTraffic(requests_s=431.0, p50_s=0.012, in_flight=3)
                for n in (1, 2, 3, 4)
            },
        ),
        "workers": WorkerCount(running=1, wanted=1, automatic=True),
        "deploy": None,
        "alerts": Alerts(),
        "audit": [],
        "curves": Curves(
            since="2030-11-03T16:04:12.000Z",
            requests_s=curve,
            error_share=[0.0] * 40,
            p50_s=[0.011 + n % 3 / 1000 for n in range(40)],
            p99_s=[0.048 + n % 7 / 100 for n in range(40)],
            cpu=[1.9 + n % 5 / 10 for n in range(40)],
            workers=[1.0] * 30 + [2.0] * 10,
            wanted=[1.0] * 28 + [2.0] * 12,
            waiting={name: [float((n * 7) % 19) for n in range(40)] for name in QUEUES},
        ),
        "ages": fresh(),
    }
    state = OperatorState(**(fields | more))
    return msgspec.structs.replace(state, summary=summarize_state(state))


def busy_state() -> OperatorState:
    """Return the state of a fleet with a deploy, a failed instance, a slow replica, late jobs."""
    calm = quiet_state()
    changed = {
        "api-1": {"state": "draining"},
        "api-3": {"state": "failed", "health": "none", "note": "ended 7 times within a minute"},
        "api-4": {"release": "b77c01d", "colour": "green", "state": "standby"},
        "postgres-2": {"lag": ReplicationLag(bytes=184 * 2**20, seconds=41.0)},
    }
    return quiet_state(
        state="degraded",
        parts=[msgspec.structs.replace(p, **changed.get(p.name, {})) for p in calm.parts],
        queues=[
            queue(name, waiting=1840, oldest_s=192.0, dead=1)
            if name == "webhook-delivery"
            else queue(name)
            for name in QUEUES
        ],
        deploy=Deploy(
            what="florin deploy --rolling",
            who="jana",
            since=AT,
            release="b77c01d",
            replaced=1,
            total=4,
            undoing=False,
        ),
        alerts=Alerts(
            firing=[
                AlertState(
                    name="QueueLate/webhook-delivery",
                    severity="ticket",
                    summary="The oldest job of webhook-delivery waits 192 s (objective 30 s)",
                    runbook="queue-grows",
                    state="firing",
                    since=AT,
                    ended=None,
                    silenced=False,
                    symptom=False,
                    deliveries=[
                        DeliveryState(receiver="slack", state="sent", at=AT, tries=0, error=""),
                        DeliveryState(
                            receiver="email", state="failed", at=None, tries=3, error="451 busy"
                        ),
                    ],
                )
            ],
            receivers=[
                ReceiverState(name="slack", to="hooks.slack.com", state="ok", error=""),
                ReceiverState(name="email", to="a@b.example", state="failing", error="451 busy"),
            ],
        ),
        audit=[
            OperationRecord(
                at=AT, who="jana", what="florin scale api=4", outcome="done", seconds=2.1
            )
        ],
    )
