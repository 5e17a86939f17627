"""Timing: every period, time-out and limit of the balancer, the instances and the supervisor.

One value of `Timing` determines HAProxy's configuration and the environment of the instances;
these numbers are stated nowhere else. `RULES` are the inequalities that must hold between them,
each with the failure seen in another system that violated it; `timing_violations` checks them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

STANDBY_KEPT_S = 600.0  # how long the instances before a blue-green switch run on, by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The defaults. Tests scale them down; the inequalities must still hold."""

    # Health checks of an instance.
    probe_every_s: float = 1.0
    probe_when_doubtful_s: float = 0.2  # from the first different answer to the change of state
    probe_timeout_s: float = 1.0
    probe_fall: int = 2
    probe_rise: int = 2

    # The balancer and an instance.
    connect_timeout_s: float = 0.3  # HAProxy also waits this long before it retries the same server
    server_timeout_s: float = 35.0
    retries: int = 3
    panic_retries: int = 30  # bridges the restart of the only instance
    retry_body_bytes: int = 24 * 1024
    buffer_bytes: int = 32 * 1024
    buffer_reserve_bytes: int = 1024  # HAProxy keeps it free for headers it adds
    idle_s: float = 30.0  # of a connection to an instance
    idle_purge_every_s: float = 3.0  # each purge closes half of the unneeded idle connections
    idle_per_server: int = 256

    # A client and the balancer.
    client_timeout_s: float = 40.0
    client_idle_s: float = 60.0
    client_request_s: float = 10.0
    queue_timeout_s: float = 5.0
    connections: int = 8_000

    # An instance.
    app_idle_s: float = 75.0
    app_request_s: float = 30.0  # the longest time that a legitimate request takes
    start_s: float = 1.5

    # An instance that stops: it serves for `drain_s`, then as long as requests arrive, but no
    # longer than `drain_max_s`; then it closes its listener and finishes its open requests.
    drain_s: float = 4.0
    drain_quiet_s: float = 0.5
    drain_max_s: float = 10.0
    finish_s: float = 30.0
    stop_grace_s: float = 50.0  # from the request to stop to the kill

    # Containers.
    gone_within_s: float = 3.0  # after which a connection that acknowledges nothing is closed
    dns_every_s: float = 1.0  # how often the balancer asks for the addresses of a service
    update_watch_s: float = 7.5  # how long a new task is watched before the next is replaced

    # The balancer itself.
    slots: int = 32
    balancer_back_s: float = 1.0

    @property
    def ejected_within_s(self) -> float:
        """Time until an instance that refuses or is gone gets no new requests."""
        return self.probe_every_s + self.probe_when_doubtful_s * (self.probe_fall - 1)

    @property
    def silent_out_within_s(self) -> float:
        """Time until an instance that accepts connections but never answers gets no new ones."""
        return self.ejected_within_s + self.probe_timeout_s * self.probe_fall

    @property
    def readmitted_within_s(self) -> float:
        return self.probe_every_s + self.probe_when_doubtful_s * self.probe_rise

    @property
    def drain_noticed_within_s(self) -> float:
        """Time until the balancer has read a 404 from the readiness check; one is enough."""
        return self.probe_every_s + self.probe_timeout_s

    @property
    def idle_gone_within_s(self) -> float:
        """Time until every unneeded connection to an instance has been closed."""
        return self.idle_purge_every_s * (ceil(log2(self.idle_per_server)) + 1)

    def environ(self) -> dict[str, str]:
        """Return the environment of an instance; its settings have the same defaults."""
        return {
            "FLORIN_DRAIN_S": f"{self.drain_s:g}",
            "FLORIN_DRAIN_MAX_S": f"{self.drain_max_s:g}",
            "FLORIN_FINISH_S": f"{self.finish_s:g}",
            "FLORIN_IDLE_S": f"{self.app_idle_s:g}",
        }


@dataclass(frozen=True, slots=True)
class TimingRule:
    """`small` must be less than `large`; `prevents` names the failure seen elsewhere otherwise."""

    says: str
    small: Callable[[Timing], float]
    large: Callable[[Timing], float]
    prevents: str


RULES: tuple[TimingRule, ...] = (
    TimingRule(
        "the balancer forgets an idle connection before the instance does",
        lambda t: t.idle_s,
        lambda t: t.app_idle_s,
        "a request sent into a connection that the instance is closing: steady 502 in no app log"
        " (growthbook-proxy#135, prowler#11647)",
    ),
    TimingRule(
        "purging reaches every unneeded connection in time",
        lambda t: t.idle_gone_within_s,
        lambda t: t.idle_s,
        "the same failure with a balancer that halves its pool instead of an idle time-out",
    ),
    TimingRule(
        "an instance serves for longer than the balancer needs to notice, and a second more",
        lambda t: t.drain_noticed_within_s + 1,
        lambda t: t.drain_s,
        "refused connections in every rolling update (kubernetes#43576, skipper#652)",
    ),
    TimingRule(
        "also where a balancer needs as many failures as for an ejection",
        lambda t: t.silent_out_within_s,
        lambda t: t.drain_s,
        "an instance gone before a balancer without drain by 404 has counted (terrapod#222)",
    ),
    TimingRule(
        "an extended drain ends",
        lambda t: t.drain_s + t.drain_quiet_s,
        lambda t: t.drain_max_s,
        "a stop that never ends because one client keeps calling (Provenance#196)",
    ),
    TimingRule(
        "the supervisor waits until a stopping instance has drained and finished",
        lambda t: t.drain_max_s + t.finish_s + 5,
        lambda t: t.stop_grace_s,
        "killed at 10 s in a drain of 25 s, work lost (chatwoot#15886, kamal#1348)",
    ),
    TimingRule(
        "a stopping instance gives open requests as long as a request may take",
        lambda t: t.app_request_s - 0.001,
        lambda t: t.finish_s,
        "a slow but legitimate request interrupted by a deploy",
    ),
    TimingRule(
        "the instance gives up on a request before the balancer gives up on the instance",
        lambda t: t.app_request_s,
        lambda t: t.server_timeout_s,
        "a retry while the first attempt still runs (skipper#652, caddy#6267)",
    ),
    TimingRule(
        "the balancer answers for a silent instance before it gives up on the client",
        lambda t: t.server_timeout_s,
        lambda t: t.client_timeout_s,
        "a client disconnected without an answer",
    ),
    TimingRule(
        "an instance that fails its health check is ejected within 2 s",
        lambda t: t.ejected_within_s,
        lambda _: 2.0,
        "30 s of traffic to a known broken instance, a common default (uncloud#70)",
    ),
    TimingRule(
        "a silent instance is ejected before a request with an idempotency key has waited 4 s",
        lambda t: t.silent_out_within_s,
        lambda _: 4.0,
        "requests that wait for the whole server time-out on a frozen instance",
    ),
    TimingRule(
        "a probe ends before the next is due",
        lambda t: t.probe_timeout_s - 0.001,
        lambda t: t.probe_every_s,
        "overlapping probes, and cancelled probes that count as failures (caddy#7625)",
    ),
    TimingRule(
        "one lost probe ejects no instance",
        lambda _: 1,
        lambda t: t.probe_fall,
        "ejection of an instance that was only slow: 56 % 503 (frankendeploy#94)",
    ),
    TimingRule(
        "an instance that answers again is readmitted within 3 s",
        lambda t: t.readmitted_within_s,
        lambda _: 3.0,
        "a minute of missing capacity after a short interruption (n8n-hosting#124)",
    ),
    TimingRule(
        "the only instance restarts within the retries of a request that waits for it",
        lambda t: t.start_s * 4,
        lambda t: t.panic_retries * min(1.0, t.connect_timeout_s),
        "requests refused while a single instance is replaced (moby#25464)",
    ),
    TimingRule(
        "a connection to an address that is gone is closed before a client has waited long",
        lambda t: t.gone_within_s,
        lambda _: 4.0,
        "requests that wait for the whole server time-out when a node is unplugged",
    ),
    TimingRule(
        "a stopped container still serves when the balancer has forgotten its address",
        lambda t: t.dns_every_s + t.drain_noticed_within_s,
        lambda t: t.drain_s,
        "requests to an address that is gone, in every update of containers (moby#30321)",
    ),
    TimingRule(
        "a new container is watched for longer than it needs to start and to be admitted",
        lambda t: t.start_s + t.dns_every_s + t.readmitted_within_s,
        lambda t: t.update_watch_s,
        "an update that goes on although the new containers fail at their first request",
    ),
    TimingRule(
        "the body of a retried request fits the buffer, with room for its headers",
        lambda t: t.retry_body_bytes + 4096,
        lambda t: t.buffer_bytes - t.buffer_reserve_bytes,
        "a request that cannot be retried because its body was not kept",
    ),
)


def timing_violations(timing: Timing) -> list[str]:
    """Return every rule that does not hold, with its numbers and the failure it prevents."""
    found: list[str] = []
    for rule in RULES:
        small, large = rule.small(timing), rule.large(timing)
        if not small < large:
            found.append(f"{rule.says}: {small:g} < {large:g} is false. Prevents: {rule.prevents}.")
    return found


DEFAULT = Timing()
