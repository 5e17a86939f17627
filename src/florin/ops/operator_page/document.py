"""Document: the state of the fleet at /operator/state. The page shows it, tests read it."""

from typing import Any

import msgspec

from florin.ops.diagnostics.status import FleetStatus
from florin.ops.fleet.audit_log import OperationRecord

OLD_S = 5.0  # what is older is shown as old


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs attention. `runbook` names a page of docs/operations/runbooks."""

    text: str
    runbook: str
    level: str  # stop: money or the service is affected; warn: it will be


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of state, what it means, and every finding, the most severe first."""

    level: str  # ok | warn | stop
    sentence: str
    detail: str
    runbook: str | None
    findings: list[Finding] = []


class Age(msgspec.Struct, frozen=True, kw_only=True):
    """When a source was read last. `old`: longer than OLD_S ago, or never."""

    at: str | None  # RFC 3339, UTC
    age_s: float | None
    old: bool
    error: str  # of the last reading; empty if it succeeded


class InstanceTraffic(msgspec.Struct, frozen=True, kw_only=True):
    requests_s: float
    p50_s: float | None
    in_flight: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Requests over the last 30 seconds; errors are the answers with status 5xx.

    Requests and errors are those that the balancer answered, also by itself; times are measured by
    the instances. `peak_s` is the highest rate of the last hour. None: not known.
    """

    requests_s: float | None = None
    peak_s: float | None = None
    errors_s: float | None = None
    error_share: float | None = None  # 0 … 1
    hour_requests: int = 0
    hour_errors: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    cpu: float | None = None  # of one core, all parts together
    cores: int = 1
    instances: dict[str, InstanceTraffic] = {}


class Deploy(msgspec.Struct, frozen=True, kw_only=True):
    """A change to the fleet that is being carried out."""

    what: str  # the command as it was given
    who: str
    since: str  # RFC 3339, UTC
    release: str
    replaced: int  # instances and workers that have reached their goal
    total: int
    undoing: bool


class WorkerCount(msgspec.Struct, frozen=True, kw_only=True):
    running: int
    wanted: int | None  # None: not known
    automatic: bool


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of one alert's last change to one receiver."""

    receiver: str  # email | slack | pagerduty
    state: str  # sent | waiting | failed
    at: str | None
    tries: int
    error: str


class AlertState(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    severity: str  # page | ticket
    summary: str
    runbook: str
    state: str  # pending | firing | resolved
    since: str
    ended: str | None
    silenced: bool
    symptom: bool  # of another alert that fires: shown and not sent
    deliveries: list[DeliveryState] = []


class ReceiverState(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver that the settings name. `to` has no secrets."""

    name: str
    to: str
    state: str  # ok | failing | unused
    error: str


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    evaluated: str | None = None  # RFC 3339, UTC
    firing: list[AlertState] = []
    ended: list[AlertState] = []
    receivers: list[ReceiverState] = []
    silences: list[dict[str, Any]] = []
    tests: dict[str, list[DeliveryState]] = {}  # by the id of `florin alerts test`


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the last hour at equal distances, oldest first, for the drawings."""

    since: str | None = None
    requests_s: list[float] = []
    error_share: list[float] = []
    p50_s: list[float] = []
    p99_s: list[float] = []
    cpu: list[float] = []
    workers: list[float] = []
    wanted: list[float] = []
    waiting: dict[str, list[float]] = {}  # by queue


class OperatorState(FleetStatus, frozen=True, kw_only=True):
    """The document; it contains that of `florin status --json`."""

    at: str  # RFC 3339, UTC
    summary: Summary
    release: str
    algorithm: str
    traffic: Traffic
    workers: WorkerCount
    deploy: Deploy | None
    alerts: Alerts
    audit: list[OperationRecord]  # the newest first
    curves: Curves
    ages: dict[str, Age]  # by source: fleet, health, balancer, instances, queues, lag
