"""Discovery: the configuration of a balancer in a container, which finds its servers by DNS.

A service of the engine has one name with an address per container. The servers of a name are slots
that HAProxy fills and empties itself, as containers come and go. There are two names, one per
colour; a map says which of them serves. It is a file that the balancer reads when it starts, and a
deployment changes it in memory as well: in one step, for every new request.

The rules of requests, retries and health checks are those of the fleet's own balancer (`config`).
"""

from dataclasses import dataclass, field

from florin.ops.fleet.timing import DEFAULT, Timing
from florin.ops.haproxy.config import format_seconds, render_defaults
from florin.ops.haproxy.config_fragments import BOUNDS, ONE_FORM, RULES
from florin.ops.haproxy.settings import CONNECTIONS_PER_SOURCE, READING_POSTS

COLOURS = ("blue", "green")
COLOUR_KEY = "colour"
PUBLIC, OPERATIONS, CONTROL = 8080, 8001, 9999  # ports in the balancer's container
FOLDER = "/usr/local/etc/haproxy"
COLOUR_MAP = f"{FOLDER}/live/colour.map"
CERTIFICATE = f"{FOLDER}/edge/certificate.pem"  # with its key and chain
_API_PORT, _OPERATIONS_PORT = 8000, 9000
_SPARE = 32  # connections for the operations port
_NEARLY_FULL = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Names of the services by colour, and how DNS is asked.

    `control_host`: the address in the control network, which is the only one that answers commands.
    """

    timing: Timing = DEFAULT
    services: dict[str, str] = field(
        default_factory=lambda: {colour: f"api-{colour}" for colour in COLOURS}
    )
    operator: str = "operator"
    control_host: str = "${BALANCER_CONTROL}"
    operations_host: str = "${BALANCER_CONTROL}"  # of metrics, statistics and the operator's page
    slots: int = 16  # per colour: containers that run, and those that are being replaced
    tls: bool = False


def render_discovery_config(edge: DiscoverySettings) -> str:
    """Return HAProxy's configuration. Pure: it depends on nothing of this machine."""
    sections = (
        _global(edge),
        _resolvers(edge.timing),
        render_defaults(edge.timing, end_sessions=False),
        _gone_servers(edge.timing),
        _public(edge),
        _operations(edge),
        *(_backend(edge, colour) for colour in COLOURS),
        *(_panic(edge, colour) for colour in COLOURS),
    )
    return "\n".join(sections)


def render_colour_map(colour: str) -> str:
    return f"{COLOUR_KEY} {colour}\n"


def _global(edge: DiscoverySettings) -> str:
    timing = edge.timing
    return f"""\
# Rendered by deploy/haproxy/render.py from src/florin/ops/fleet/timing.py: do not edit.
global
  log stdout format raw daemon err
  stats socket ipv4@{edge.control_host}:{CONTROL} level admin
  stats timeout {format_seconds(60)}
  expose-experimental-directives
  maxconn {timing.connections}
  hard-stop-after {format_seconds(timing.stop_grace_s)}
  tune.bufsize {timing.buffer_bytes}
  tune.maxrewrite {timing.buffer_reserve_bytes}
  tune.pool-high-fd-ratio 40
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
"""


def _resolvers(timing: Timing) -> str:
    # An engine may forget the address of a container when it begins to stop. Its requests go on, so
    # the server is kept as long as a container may take to stop; its health check drains it.
    return f"""\
resolvers engine
  parse-resolv-conf
  accepted_payload_size 8192
  resolve_retries 3
  timeout resolve {format_seconds(timing.dns_every_s)}
  timeout retry {format_seconds(timing.dns_every_s)}
  hold valid {format_seconds(timing.dns_every_s)}
  hold obsolete {format_seconds(timing.stop_grace_s)}
  hold nx {format_seconds(timing.stop_grace_s)}
  hold timeout {format_seconds(timing.stop_grace_s)}
  hold refused {format_seconds(timing.stop_grace_s)}
  hold other {format_seconds(timing.stop_grace_s)}
"""


def _gone_servers(timing: Timing) -> str:
    """Return further defaults, for a server whose address is gone: nothing there refuses.

    Ending the sessions of a server that is marked down would fail the requests that are still
    connecting to that address, instead of sending them to another server. So TCP itself finds out:
    a connection that acknowledges nothing is closed, and its request is sent again if it may be.
    `tcp-ut` does the same for what was sent and not acknowledged. It is on the servers' own lines
    (`_servers`), since HAProxy ignores it in `default-server`.
    """
    return f"""\
  option srvtcpka
  srvtcpka-idle {format_seconds(timing.gone_within_s - 2)}
  srvtcpka-intvl 1s
  srvtcpka-cnt 2
"""


def _public(edge: DiscoverySettings) -> str:
    tls = f" ssl crt {CERTIFICATE} alpn h2,http/1.1" if edge.tls else ""
    most = edge.timing.connections - _SPARE
    bounds = BOUNDS.format(
        most=most,
        each=min(CONNECTIONS_PER_SOURCE, most // 2),
        nearly=int(most * _NEARLY_FULL),
        spared="",
        unless_spared="",
    )
    rules = RULES.format(
        clients="",
        scheme="https" if edge.tls else "http",
        unless_proxied="",
        reading=" ".join(READING_POSTS),
        body=edge.timing.retry_body_bytes,
    )
    panics = "".join(
        f"  use_backend panic_{colour} if {{ var(txn.colour) -m str {colour} }}"
        f" {{ nbsrv({colour}) eq 0 }}\n"
        for colour in COLOURS
    )
    return f"""\
frontend public
  bind :{PUBLIC}{tls}
  option dontlognull
{bounds}{ONE_FORM}{rules}
  http-request set-var(txn.colour) str({COLOUR_KEY}),map({COLOUR_MAP},{COLOURS[0]})
{panics}  use_backend %[var(txn.colour)]
"""


def _operations(edge: DiscoverySettings) -> str:
    return f"""\
frontend operations
  bind {edge.operations_host}:{OPERATIONS}
{ONE_FORM}  stats enable
  stats uri /stats
  stats refresh 5s
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request redirect location /operator if {{ path / }}
  use_backend operator if {{ path /operator }} || {{ path_beg /operator/ }}

backend operator
  retry-on conn-failure
  server operator {edge.operator}:{_OPERATIONS_PORT} resolvers engine init-addr none
"""


def _backend(edge: DiscoverySettings, colour: str) -> str:
    return f"""\
backend {colour}
  balance roundrobin
  option httpchk
  http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host florin
  http-check disable-on-404
{_servers(edge, colour)} check
"""


def _panic(edge: DiscoverySettings, colour: str) -> str:
    """Return the backend for when no instance is healthy: trying one is better than refusing."""
    return f"""\
backend panic_{colour}
  balance roundrobin
  retries {edge.timing.panic_retries}
{_servers(edge, colour)}
"""


def _servers(edge: DiscoverySettings, colour: str) -> str:
    return (
        f"  server-template s 1-{edge.slots} {edge.services[colour]}:{_API_PORT}"
        " resolvers engine resolve-prefer ipv4 init-addr none"
        f" tcp-ut {format_seconds(edge.timing.gone_within_s)}"
    )
