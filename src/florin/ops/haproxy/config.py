"""Config: HAProxy's configuration as a pure function of settings and state.

The algorithm cannot be changed while HAProxy runs, so there is one backend per algorithm, and a
map, which can be changed, selects one. Servers cannot be added and tracked while it runs, so all
slots are declared and get their address and state over the socket. Only the first backend probes;
the others follow it. The state is rendered into the configuration as well: a restarted balancer
serves with the same servers before it receives any command.
"""

from florin.ops.fleet.timing import Timing
from florin.ops.haproxy.config_fragments import (
    BOUNDS,
    LOG_FORMAT,
    ONE_FORM,
    RULES,
    problem_response,
)
from florin.ops.haproxy.server_slots import BalancerState
from florin.ops.haproxy.settings import CERTIFICATE, MAP, READING_POSTS, SOCKET, BalancerSettings

PROBING, FOLLOWING, PANIC = "roundrobin", ("leastconn", "iphash"), "panic"
EVERY = (PROBING, *FOLLOWING, PANIC)
FREE = "127.0.0.1:1"  # the address of a free slot, which is also in maintenance
MAP_KEY = "algorithm"
_PROXIES_DEEP = 5
_UNLESS_PROXIED = " unless of_a_proxy { req.hdr(x-forwarded-proto) -m found }"


def server_name(slot: int) -> str:
    """Return the name of a slot's server, the same in every backend."""
    return f"s{slot}"


def render_config(edge: BalancerSettings, facts: BalancerState) -> str:
    parts = (
        _global(edge),
        render_defaults(edge.timing),
        _public(edge),
        _operations(edge),
        _backends(edge, facts),
    )
    return "\n".join(parts)


def render_map(facts: BalancerState) -> str:
    return f"{MAP_KEY} {facts.algorithm}\n"


def format_seconds(value: float) -> str:
    return f"{round(value * 1000)}ms"


def _global(edge: BalancerSettings) -> str:
    timing = edge.timing
    user = f"  uid {edge.user.uid}\n  gid {edge.user.gid}\n" if edge.user else ""
    return f"""\
# Written by florin up; changes go over the socket and into this file.
global
  log stdout format raw daemon err
  stats socket unix@{SOCKET} mode 600 level admin expose-fd listeners
  stats timeout {format_seconds(60)}
  expose-experimental-directives
{user}  maxconn {edge.connections()}
  nbthread {edge.threads}
  hard-stop-after {format_seconds(timing.stop_grace_s)}
  tune.bufsize {timing.buffer_bytes}
  tune.maxrewrite {timing.buffer_reserve_bytes}
  tune.pool-high-fd-ratio 40
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
"""


def render_defaults(t: Timing, *, end_sessions: bool = True) -> str:
    """Return the section that every frontend and backend inherits.

    `end_sessions`: those of a server that is marked down end at once.
    """
    probes = (
        f"inter {format_seconds(t.probe_every_s)}"
        f" fastinter {format_seconds(t.probe_when_doubtful_s)}"
        f" downinter {format_seconds(t.probe_every_s)} fall {t.probe_fall} rise {t.probe_rise}"
    )
    # A failed connection only makes the next probe come sooner; the probe decides. If the failure
    # itself marked the server down, all requests of the server would be ended with it.
    watch = "observe layer4 error-limit 1 on-error fastinter"
    watch += " on-marked-down shutdown-sessions" if end_sessions else ""
    pool = (
        f"pool-max-conn {t.idle_per_server} pool-purge-delay {format_seconds(t.idle_purge_every_s)}"
    )
    # A request that timed out is not repeated: it would be slow again while the first attempt still
    # runs. No abortonclose: with it HAProxy closes the client's connection instead of sending the
    # request to another instance, in about one of four kills of an instance under load.
    return f"""\
defaults
  mode http
  log global
  log-format '{LOG_FORMAT}'
  option dontlog-normal
  option log-separate-errors
  option http-keep-alive
  option idle-close-on-response
  option http-buffer-request
  option redispatch 1
  retries {t.retries}
  retry-on conn-failure empty-response
  http-reuse safe
  timeout connect {format_seconds(t.connect_timeout_s)}
  timeout queue {format_seconds(t.queue_timeout_s)}
  timeout server {format_seconds(t.server_timeout_s)}
  timeout check {format_seconds(t.probe_timeout_s)}
  timeout client {format_seconds(t.client_timeout_s)}
  timeout http-request {format_seconds(t.client_request_s)}
  timeout http-keep-alive {format_seconds(t.client_idle_s)}
  default-server {probes}
  default-server {watch}
  default-server {pool}
  {problem_response(503, "overloaded")}
  {problem_response(502, "outcome_unknown")}
  {problem_response(504, "outcome_unknown")}
"""


def _public(edge: BalancerSettings) -> str:
    tls = f" ssl crt {CERTIFICATE} alpn h2,http/1.1" if edge.tls else ""
    scheme = "https" if edge.tls else "http"
    reading = " ".join(READING_POSTS)
    rules = RULES.format(
        clients=_clients(edge.trusted_proxies),
        scheme=scheme,
        unless_proxied=_UNLESS_PROXIED if edge.trusted_proxies else "",
        reading=reading,
        body=edge.timing.retry_body_bytes,
    )
    proxies, spared = "", ""
    if edge.trusted_proxies:
        proxies = f"  acl of_a_proxy src {' '.join(edge.trusted_proxies)}\n"
        spared = " !of_a_proxy"
    bounds = BOUNDS.format(
        most=edge.public_connections(),
        each=edge.source_connections(),
        nearly=edge.nearly_full(),
        spared=spared,
        unless_spared=" if !of_a_proxy" if spared else "",
    )
    host = f"[{edge.host}]" if ":" in edge.host else edge.host
    return f"""\
frontend public
  bind {host}:{edge.port}{tls}
{proxies}{bounds}{ONE_FORM}{rules}
  use_backend {PANIC} if {{ nbsrv({PROBING}) eq 0 }}
  use_backend %[str({MAP_KEY}),map({MAP},{PROBING})]
"""


def _clients(trusted: tuple[str, ...]) -> str:
    """Return the rules that find the client: the last address in X-Forwarded-For that is not that
    of a trusted proxy.

    Each rule uses the source that the rule before set, so a chain of proxies is followed from this
    end; a header from an untrusted source is ignored.
    """
    if not trusted:
        return ""
    lines: list[str] = []
    for depth in range(1, _PROXIES_DEEP + 1):
        named = f"req.hdr_ip(x-forwarded-for,-{depth})"
        lines.append(f"  http-request set-src {named} if of_a_proxy {{ {named} -m found }}")
    return "\n".join((*lines, ""))


def _operations(edge: BalancerSettings) -> str:
    routes, backends, root = "", "", "/stats"
    if edge.operator_port is not None:
        root = "/operator"
        routes += "  use_backend operator if { path /operator } || { path_beg /operator/ }\n"
        backends += _local_backend("operator", edge.operator_port)
    if edge.fleet_metrics_port is not None:
        routes += "  use_backend fleet_metrics if { path /metrics/fleet }\n"
        backends += _local_backend("fleet_metrics", edge.fleet_metrics_port)
    return f"""\
frontend operations
  bind 127.0.0.1:{edge.operations_port}
{ONE_FORM}  stats enable
  stats uri /stats
  stats refresh 5s
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request redirect location {root} if {{ path / }}
{routes}
{backends}"""


def _local_backend(name: str, port: int) -> str:
    """Return a backend with one process of this machine; it is not probed."""
    return f"""\
backend {name}
  retry-on conn-failure
  server local 127.0.0.1:{port}

"""


def _backends(edge: BalancerSettings, facts: BalancerState) -> str:
    probing = """\
  option httpchk
  http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host florin
  http-check disable-on-404"""
    # The backends that follow must also treat a 404 as draining.
    following = "  option httpchk\n  http-check disable-on-404"
    hashing = f"{following}\n  hash-type consistent sdbm avalanche"
    return "\n".join(
        (
            _backend(edge, facts, PROBING, "roundrobin", probing, "check"),
            _backend(edge, facts, "leastconn", "leastconn", following, "track"),
            _backend(edge, facts, "iphash", "source", hashing, "track"),
            # No instance is healthy: trying one is better than refusing. Retries bridge a restart.
            _backend(
                edge, facts, PANIC, "roundrobin", f"  retries {edge.timing.panic_retries}", ""
            ),
        )
    )


def _backend(
    edge: BalancerSettings, facts: BalancerState, name: str, balance: str, more: str, health: str
) -> str:
    lines = [f"backend {name}", f"  balance {balance}"]
    lines += [more] if more else []
    for slot in range(1, edge.timing.slots + 1):
        known = facts.of_slot(slot)
        words = ["  server", server_name(slot), known.address if known else FREE]
        if health == "track":
            words += ["track", f"{PROBING}/{server_name(slot)}"]  # follows its maintenance state
        else:
            words += [health] if health else []
            # After a restart a drained server has no sessions left, so it is disabled.
            words += [] if known and known.admitted else ["disabled"]
        lines.append(" ".join(words))
    return "\n".join((*lines, ""))
