"""Traffic: the numbers of requests, errors and times from the metrics. Pure."""

from collections.abc import Mapping

from florin.ops.alerting.fleet_metrics import (
    BALANCER_ANSWERS,
    BALANCER_REQUESTS,
    BUCKETS,
    IN_FLIGHT,
    REQUESTS,
    FleetMetrics,
)
from florin.ops.alerting.metric_history import MetricHistory, quantile
from florin.ops.diagnostics.status import PartStatus
from florin.ops.operator_page.document import InstanceTraffic, Traffic

WINDOW_S = 30.0
_HOUR_S = 3600.0
_PUBLIC = {"proxy": "public"}


def summarize_traffic(metrics: FleetMetrics, parts: list[PartStatus], cores: int) -> Traffic:
    """Return the numbers; those whose source was never read are None."""
    balancer, instances = metrics.balancer, metrics.processes
    requests_s = error_share = errors_s = None
    hour_requests = hour_errors = 0
    if balancer.span_s > 0:
        answered = balancer.increase(BALANCER_ANSWERS, WINDOW_S, **_PUBLIC)
        failed = balancer.increase(BALANCER_ANSWERS, WINDOW_S, code="5xx", **_PUBLIC)
        requests_s = balancer.rate(BALANCER_REQUESTS, WINDOW_S, **_PUBLIC)
        errors_s = balancer.rate(BALANCER_ANSWERS, WINDOW_S, code="5xx", **_PUBLIC)
        error_share = failed / answered if answered else 0.0
        hour_requests = round(balancer.increase(BALANCER_ANSWERS, _HOUR_S, **_PUBLIC))
        hour_errors = round(balancer.increase(BALANCER_ANSWERS, _HOUR_S, code="5xx", **_PUBLIC))
    buckets = _buckets(instances)
    every: dict[float, float] = {}
    for each in buckets.values():
        for bound, count in each.items():
            every[bound] = every.get(bound, 0.0) + count
    loads = [part.load.cpu for part in parts if part.load is not None]
    return Traffic(
        requests_s=requests_s,
        errors_s=errors_s,
        error_share=error_share,
        hour_requests=hour_requests,
        hour_errors=hour_errors,
        p50_s=quantile(0.5, every),
        p99_s=quantile(0.99, every),
        cpu=round(sum(loads), 2) if loads else None,
        cores=cores,
        instances=_instances(instances, buckets),
    )


def _instances(
    history: MetricHistory, buckets: Mapping[str, Mapping[float, float]]
) -> dict[str, InstanceTraffic]:
    seconds = min(WINDOW_S, history.span_s)
    if seconds <= 0:
        return {}
    counts: dict[str, float] = {}
    for labels, count in history.increases(REQUESTS, WINDOW_S).items():
        name = dict(labels).get("instance", "")
        counts[name] = counts.get(name, 0.0) + count
    open_now = {
        dict(labels).get("instance", ""): value
        for labels, value in history.labelled(IN_FLIGHT).items()
    }
    return {
        name: InstanceTraffic(
            requests_s=round(count / seconds, 2),
            p50_s=quantile(0.5, buckets.get(name, {})),
            in_flight=round(open_now.get(name, 0.0)),
        )
        for name, count in counts.items()
    }


def _buckets(history: MetricHistory) -> dict[str, dict[float, float]]:
    """Return the cumulative counts of the window by instance and upper bound."""
    counts: dict[str, dict[float, float]] = {}
    for labels, count in history.increases(BUCKETS, WINDOW_S).items():
        named = dict(labels)
        mine = counts.setdefault(named.get("instance", ""), {})
        bound = float(named["le"])
        mine[bound] = mine.get(bound, 0.0) + count
    return counts
