"""Cluster timing: the periods and limits that Kubernetes adds to the timing of the fleet.

deploy/kubernetes/generate.py renders every number of the manifests from these values; tests read
the manifests back into them. The same rules as in `timing`: a small side, a large side, and the
failure that the rule prevents.
"""

from collections.abc import Callable
from dataclasses import dataclass

from florin.kit.queue.worker import FINISH_WITHIN_S, WRITE_WITHIN_S
from florin.ops.fleet.timing import DEFAULT, Timing

LONGEST_STALL_S = 30.0  # of an event loop or a disk that recovers without a restart
START_WAIT_S = 60.0  # an instance waits so long for the migration of its release
DNS_TTL_S = 5.0  # of the answers of CoreDNS for a Service, unless its administrator changed it
ENDPOINTS_WITHIN_S = 5.0  # until the nodes send nothing to a pod that was taken out of a Service


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTiming:
    """The defaults; whole seconds, since Kubernetes accepts no others."""

    # Probes of the kubelet.
    ready_every_s: int = 2
    ready_timeout_s: int = 1
    ready_failures: int = 2
    live_every_s: int = 10
    live_timeout_s: int = 3
    live_failures: int = 5
    start_every_s: int = 1
    start_failures: int = 120

    # A pod that stops: first the pause before SIGTERM, then the stop of the process.
    prestop_s: int = 5
    balancer_prestop_s: int = 10
    grace_s: int = 60
    balancer_grace_s: int = 70
    worker_grace_s: int = 45

    # Names: the balancer asks this often, and the cluster's DNS keeps an answer for so long.
    dns_every_s: float = 1.0
    dns_kept_s: float = 5.0

    # A Deployment: a new pod counts after it was ready for so long; a rollout that does not
    # progress fails.
    settle_s: int = 10
    progress_s: int = 180
    migration_s: int = 900

    # Scaling.
    scale_up_every_s: int = 15
    scale_down_after_s: int = 300
    scale_down_every_s: int = 60
    workers_every_s: int = 5

    # Monitoring.
    scrape_every_s: int = 5
    scrape_timeout_s: int = 4


@dataclass(frozen=True, slots=True)
class ClusterRule:
    """`small` must be less than `large`; `prevents` names the failure otherwise."""

    says: str
    small: Callable[[ClusterTiming, Timing], float]
    large: Callable[[ClusterTiming, Timing], float]
    prevents: str


CLUSTER_RULES: tuple[ClusterRule, ...] = (
    ClusterRule(
        "a pod is killed after the pause, the drain and the end of its requests",
        lambda c, t: c.prestop_s + t.drain_max_s + t.finish_s + 5,
        lambda c, _: c.grace_s,
        "requests cut by a kill in each rolling update (terrapod#222)",
    ),
    ClusterRule(
        "an instance still serves while the balancers' answers of DNS are old",
        lambda c, t: c.dns_every_s + c.dns_kept_s + t.probe_every_s,
        lambda c, t: c.prestop_s + t.drain_s,
        "requests to an address that nothing listens on any more (kubernetes#43576)",
    ),
    ClusterRule(
        "a balancer serves until the nodes send it nothing new",
        lambda _, __: ENDPOINTS_WITHIN_S,
        lambda c, _: c.balancer_prestop_s,
        "refused connections when a balancer is replaced",
    ),
    ClusterRule(
        "a balancer is killed after the pause and its own limit for open requests",
        lambda c, t: c.balancer_prestop_s + t.stop_grace_s + 5,
        lambda c, _: c.balancer_grace_s,
        "open requests cut when a balancer is replaced",
    ),
    ClusterRule(
        "a worker is killed after its jobs had time to finish and to be written",
        lambda _, __: FINISH_WITHIN_S + WRITE_WITHIN_S + 10,
        lambda c, _: c.worker_grace_s,
        "jobs run twice, after the lease of a killed worker (temporal-worker-controller#547)",
    ),
    ClusterRule(
        "a stall that recovers restarts nothing",
        lambda _, __: LONGEST_STALL_S,
        lambda c, _: (c.live_failures - 1) * c.live_every_s,
        "every instance restarted at once by a slow disk, with all its connections",
    ),
    ClusterRule(
        "an instance that hangs is restarted within a minute",
        lambda c, _: c.live_failures * c.live_every_s + c.live_timeout_s,
        lambda _, __: 60.0,
        "an instance that stays in service although it answers nothing",
    ),
    ClusterRule(
        "a liveness probe may be as slow as a pause of the process",
        lambda _, __: 2.0,
        lambda c, _: c.live_timeout_s,
        "restarts because of a collection of garbage or a busy node",
    ),
    ClusterRule(
        "liveness probes do not overlap",
        lambda c, _: c.live_timeout_s * 2,
        lambda c, _: c.live_every_s,
        "probes that make a slow instance slower",
    ),
    ClusterRule(
        "one slow readiness probe takes out nothing",
        lambda _, __: 1,
        lambda c, _: c.ready_failures,
        "pods that are ready and not ready in turn under load",
    ),
    ClusterRule(
        "readiness probes do not overlap",
        lambda c, _: c.ready_timeout_s,
        lambda c, _: c.ready_every_s,
        "probes that make a slow instance slower",
    ),
    ClusterRule(
        "a readiness probe waits as long as that of the balancer",
        lambda _, t: t.probe_timeout_s - 0.001,
        lambda c, _: c.ready_timeout_s,
        "the cluster and the balancer disagree about which instances serve",
    ),
    ClusterRule(
        "an instance may start before its migration has ended",
        lambda _, t: START_WAIT_S + t.start_s,
        lambda c, _: c.start_every_s * c.start_failures,
        "a restart of every pod while the first migration runs",
    ),
    ClusterRule(
        "a start is noticed within a few seconds",
        lambda _, __: 0.9,
        lambda c, _: c.start_every_s,
        "a probe in the whole of a busy second",
    ),
    ClusterRule(
        "a new pod counts when the balancers know and probed it",
        lambda c, t: c.dns_every_s + c.dns_kept_s + t.readmitted_within_s,
        lambda c, _: c.settle_s,
        "an old pod removed before the new one gets requests: too few instances in each rollout",
    ),
    ClusterRule(
        "a rollout fails after a pod had its time to start and settle",
        lambda c, _: c.start_every_s * c.start_failures + c.settle_s + 30,
        lambda c, _: c.progress_s,
        "a rollout undone although its pods only waited for the migration",
    ),
    ClusterRule(
        "a migration may build an index",
        lambda _, __: 600.0,
        lambda c, _: c.migration_s,
        "an index half built, and built again by each retry",
    ),
    ClusterRule(
        "a balancer keeps an address at least as long as the cluster's DNS keeps an answer",
        lambda _, __: DNS_TTL_S - 0.001,
        lambda c, _: c.dns_kept_s,
        "an instance that is taken out and back in because two answers of DNS differ",
    ),
    ClusterRule(
        "DNS is not asked all the time",
        lambda _, __: 0.9,
        lambda c, _: c.dns_every_s,
        "a cluster's DNS that is busy with balancers",
    ),
    ClusterRule(
        "pods are added only when the load of those before is known",
        lambda _, t: t.start_s + 10,
        lambda c, _: c.scale_up_every_s,
        "twice as many pods as needed, each time the load grows (kubernetes#90461)",
    ),
    ClusterRule(
        "pods are removed only after a rollout of all",
        lambda c, _: c.settle_s + c.grace_s + c.progress_s,
        lambda c, _: c.scale_down_after_s,
        "pods removed and added again during a deployment",
    ),
    ClusterRule(
        "a pod has ended before the next is removed",
        lambda c, _: c.grace_s - 1,
        lambda c, _: c.scale_down_every_s,
        "several pods that drain at once",
    ),
    ClusterRule(
        "the wanted number of workers is not asked before it is decided again",
        lambda _, __: 4.9,
        lambda c, _: c.workers_every_s,
        "the same number twice",
    ),
    ClusterRule(
        "a scrape ends before the next begins",
        lambda c, _: c.scrape_timeout_s,
        lambda c, _: c.scrape_every_s,
        "samples of two times in one",
    ),
    ClusterRule(
        "a busy process is scraped",
        lambda _, __: 3.0,
        lambda c, _: c.scrape_timeout_s,
        "no metrics at the moment that they are needed",
    ),
)


def cluster_violations(cluster: ClusterTiming, timing: Timing = DEFAULT) -> list[str]:
    """Return every rule that does not hold, with its numbers and the failure it prevents."""
    found: list[str] = []
    for rule in CLUSTER_RULES:
        small, large = rule.small(cluster, timing), rule.large(cluster, timing)
        if not small < large:
            found.append(f"{rule.says}: {small:g} < {large:g} is false. Prevents: {rule.prevents}.")
    return found


CLUSTER = ClusterTiming()
