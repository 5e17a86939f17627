"""Timing in Kubernetes: every number of the overlays is read back into the timing model.

Then each is halved in turn, and the same check must fail: a number without a guard is found.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from florin.ops.fleet.cluster_timing import (
    CLUSTER,
    CLUSTER_RULES,
    ClusterTiming,
    cluster_violations,
)
from florin.ops.fleet.timing import DEFAULT, Timing, timing_violations
from tests.deploy.manifests import OVERLAYS, rendered
from tests.deploy.test_kubernetes import haproxy_of, settings_of

Path = tuple[str | int, ...]

# The place of a number: the kind and name of its object, the end of its path, the model's field.
_PLACES: tuple[tuple[str, str, str], ...] = (
    ("Deployment/florin-(api|balancer)-.*", r"readinessProbe/periodSeconds", "ready_every_s"),
    ("Deployment/florin-(api|balancer)-.*", r"readinessProbe/timeoutSeconds", "ready_timeout_s"),
    ("Deployment/florin-(api|balancer)-.*", r"readinessProbe/failureThreshold", "ready_failures"),
    ("Deployment/.*", r"livenessProbe/periodSeconds", "live_every_s"),
    ("Deployment/.*", r"livenessProbe/timeoutSeconds", "live_timeout_s"),
    ("Deployment/.*", r"livenessProbe/failureThreshold", "live_failures"),
    ("Deployment/.*", r"startupProbe/periodSeconds", "start_every_s"),
    ("Deployment/.*", r"startupProbe/timeoutSeconds", "ready_timeout_s"),
    ("Deployment/.*", r"startupProbe/failureThreshold", "start_failures"),
    ("Deployment/florin-api-.*", r"preStop/sleep/seconds", "prestop_s"),
    ("Deployment/florin-balancer-.*", r"preStop/sleep/seconds", "balancer_prestop_s"),
    ("Deployment/florin-api-.*", r"terminationGracePeriodSeconds", "grace_s"),
    ("Deployment/florin-balancer-.*", r"terminationGracePeriodSeconds", "balancer_grace_s"),
    ("Deployment/florin-(worker|operator)", r"terminationGracePeriodSeconds", "worker_grace_s"),
    ("Deployment/.*", r"spec/minReadySeconds", "settle_s"),
    ("Deployment/.*", r"spec/progressDeadlineSeconds", "progress_s"),
    ("Job/florin-migrate", r"spec/activeDeadlineSeconds", "migration_s"),
    ("HorizontalPodAutoscaler/.*", r"scaleUp/policies/0/periodSeconds", "scale_up_every_s"),
    ("HorizontalPodAutoscaler/.*", r"scaleDown/policies/0/periodSeconds", "scale_down_every_s"),
    (
        "HorizontalPodAutoscaler/.*",
        r"scaleDown/stabilizationWindowSeconds",
        "scale_down_after_s",
    ),
    ("ScaledObject/.*", r"spec/pollingInterval", "workers_every_s"),
    ("ScaledObject/.*", r"spec/cooldownPeriod", "scale_down_after_s"),
    ("ServiceMonitor/.*", r"endpoints/0/interval", "scrape_every_s"),
    ("ServiceMonitor/.*", r"endpoints/0/scrapeTimeout", "scrape_timeout_s"),
)
# Numbers that are no time of ours: they begin nothing late, or mean "at once".
_OTHER = re.compile(r"fallback/failureThreshold$|stabilizationWindowSeconds$")
_IS_TIME = re.compile(
    r"(Seconds|/seconds|failureThreshold|pollingInterval|cooldownPeriod|/interval|scrapeTimeout)$"
)
# A line of HAProxy's configuration, the field of the fleet's model, and how many a unit has.
_LINES: tuple[tuple[str, str, float], ...] = (
    (r"  hard-stop-after (\d+)ms", "stop_grace_s", 1000),
    (r"  tune.bufsize (\d+)", "buffer_bytes", 1),
    (r"  tune.maxrewrite (\d+)", "buffer_reserve_bytes", 1),
    (r"  retries (\d+)\n  retry-on", "retries", 1),
    (r"  retries (\d+)\n  server-template", "panic_retries", 1),
    (r"  timeout connect (\d+)ms", "connect_timeout_s", 1000),
    (r"  timeout queue (\d+)ms", "queue_timeout_s", 1000),
    (r"  timeout server (\d+)ms", "server_timeout_s", 1000),
    (r"  timeout check (\d+)ms", "probe_timeout_s", 1000),
    (r"  timeout client (\d+)ms", "client_timeout_s", 1000),
    (r"  timeout http-request (\d+)ms", "client_request_s", 1000),
    (r"  timeout http-keep-alive (\d+)ms", "client_idle_s", 1000),
    (r"  default-server inter (\d+)ms", "probe_every_s", 1000),
    (r" fastinter (\d+)ms", "probe_when_doubtful_s", 1000),
    (r" downinter (\d+)ms", "probe_every_s", 1000),
    (r" fall (\d+)", "probe_fall", 1),
    (r" rise (\d+)", "probe_rise", 1),
    (r" pool-max-conn (\d+)", "idle_per_server", 1),
    (r" pool-purge-delay (\d+)ms", "idle_purge_every_s", 1000),
    (r" req.body_size le (\d+)", "retry_body_bytes", 1),
    (r"\n  maxconn (\d+)\n  nbthread", "connections", 1),
    (r"  server-template s (\d+) [^\n]* check", "slots", 1),
)
_NAMES: tuple[tuple[str, str, float], ...] = (
    (r"  timeout resolve (\d+)ms", "dns_every_s", 1000),
    (r"  timeout retry (\d+)ms", "dns_every_s", 1000),
    (r"  hold valid (\d+)ms", "dns_every_s", 1000),
    (r"  hold obsolete (\d+)ms", "dns_kept_s", 1000),
    (r"  hold nx (\d+)ms", "dns_kept_s", 1000),
)
_ENVIRON = {
    "FLORIN_DRAIN_S": "drain_s",
    "FLORIN_DRAIN_MAX_S": "drain_max_s",
    "FLORIN_FINISH_S": "finish_s",
    "FLORIN_IDLE_S": "app_idle_s",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number in an object: where it is, and the field of the model that it must have."""

    index: int
    path: Path
    field: str | None
    value: float

    def __str__(self) -> str:
        return f"{self.index}:{'/'.join(map(str, self.path))}"


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())  # pyright: ignore[reportUnknownArgumentType] -- parsed YAML
    elif isinstance(value, list):
        inner = list(enumerate(value))  # pyright: ignore[reportUnknownArgumentType] -- parsed YAML
    else:
        yield path, value
    for step, each in inner:
        yield from _leaves(each, (*path, step))


def numbers(objects: list[dict[str, Any]]) -> list[Number]:
    """Return every period and limit of the objects."""
    found: list[Number] = []
    for index, each in enumerate(objects):
        if each["kind"] in ("Cluster", "ConfigMap", "PrometheusRule"):
            continue
        name = f"{each['kind']}/{each['metadata']['name']}"
        for path, value in _leaves(each):
            where = "/".join(map(str, path))
            if not _IS_TIME.search(where) or (_OTHER.search(where) and value in (0, 3)):
                continue
            field = next(
                (
                    field
                    for kind, end, field in _PLACES
                    if re.fullmatch(kind, name) and re.search(rf"(^|/){end}$", where)
                ),
                None,
            )
            found.append(Number(index, path, field, float(str(value).removesuffix("s"))))
    return found


def findings(objects: list[dict[str, Any]]) -> list[str]:
    """Read the objects back into the model; return what is wrong."""
    wrong: list[str] = []
    cluster: dict[str, float] = {}
    fleet: dict[str, float] = {}
    for each in numbers(objects):
        if each.field is None:
            wrong.append(f"{each} is guarded by nothing")
        elif cluster.setdefault(each.field, each.value) != each.value:
            wrong.append(f"{each} is {each.value:g}, elsewhere {cluster[each.field]:g}")
    text = haproxy_of(objects)
    for lines, read in ((_LINES, fleet), (_NAMES, cluster)):
        for pattern, field, unit in lines:
            [value] = re.findall(pattern, text)
            if read.setdefault(field, float(value) / unit) != float(value) / unit:
                wrong.append(f"{field} has two values in HAProxy's configuration")
    environ = settings_of(objects)
    for variable, field in _ENVIRON.items():
        fleet[field] = float(environ[variable])
    held = replace(CLUSTER, **{name: _like(CLUSTER, name, v) for name, v in cluster.items()})
    timing = replace(DEFAULT, **{name: _like(DEFAULT, name, v) for name, v in fleet.items()})
    wrong += cluster_violations(held, timing) + timing_violations(timing)
    wrong += [f"{each} is not that of the model" for each in _differences(held, CLUSTER)]
    wrong += [f"{each} is not that of the model" for each in _differences(timing, DEFAULT)]
    unread = {each.name for each in fields(ClusterTiming)} - cluster.keys()
    return wrong + [f"{name} is in no file" for name in unread if _has(objects, name)]


def _has(objects: list[dict[str, Any]], field: str) -> bool:
    """Whether these objects should have the number: components bring some of their own."""
    kinds = {each["kind"] for each in objects}
    if field == "workers_every_s":
        return "ScaledObject" in kinds
    return not field.startswith("scrape_") or "ServiceMonitor" in kinds


def _like(model: ClusterTiming | Timing, name: str, value: float) -> float:
    return type(getattr(model, name))(value)


def _differences(one: ClusterTiming | Timing, other: ClusterTiming | Timing) -> list[str]:
    return [
        each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)
    ]


def _halved(objects: list[dict[str, Any]], number: Number) -> list[dict[str, Any]]:
    changed = copy.deepcopy(objects)
    place: Any = changed[number.index]
    for step in number.path[:-1]:
        place = place[step]
    last = number.path[-1]
    half = int(number.value // 2)
    place[last] = f"{half}s" if isinstance(place[last], str) else half
    return changed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_number_is_that_of_the_model(overlay: str) -> None:
    assert findings(rendered(overlay)) == []
    assert len(numbers(rendered(overlay))) > 35


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_half_of_any_number_is_found(overlay: str) -> None:
    objects = rendered(overlay)
    unguarded = [str(each) for each in numbers(objects) if not findings(_halved(objects, each))]
    assert unguarded == []


@pytest.mark.parametrize(
    ("pattern", "unit"), [(pattern, unit) for pattern, _, unit in (*_LINES, *_NAMES)]
)
def test_half_of_any_number_of_haproxy_is_found(pattern: str, unit: float) -> None:
    del unit
    objects = rendered("production")
    for each in objects:
        text = each.get("data", {}).get("haproxy.cfg")
        if text is None:
            continue
        found = re.search(pattern, text)
        assert found is not None
        half = str(int(found[1]) // 2)
        each["data"]["haproxy.cfg"] = text[: found.start(1)] + half + text[found.end(1) :]
    assert findings(objects)


@pytest.mark.parametrize("variable", _ENVIRON)
def test_half_of_any_variable_is_found(variable: str) -> None:
    objects = rendered("production")
    settings = settings_of(objects)
    settings[variable] = f"{float(settings[variable]) / 2:g}"
    assert findings(objects)


def test_the_model_holds_and_half_of_any_field_breaks_a_rule() -> None:
    assert cluster_violations(CLUSTER) == []
    for each in fields(CLUSTER):
        value = getattr(CLUSTER, each.name)
        half = value / 2 if isinstance(value, float) else value // 2
        assert cluster_violations(replace(CLUSTER, **{each.name: half})), each.name
    assert all(rule.prevents and rule.says for rule in CLUSTER_RULES)
