"""Topology view: the parts of the fleet as the page groups them. Pure."""

from dataclasses import dataclass

from florin.ops.diagnostics.status import PartStatus
from florin.ops.operator_page.document import OperatorState
from florin.ops.operator_page.summary import LAG_LIMIT_S, format_seconds
from florin.ops.postgres.replication_lag import format_lag

_COINS = {
    "ready": "full",
    "starting": "wait",
    "draining": "half",
    "standby": "ring2",
    "stopped": "empty",
    "failed": "cross",
    "lagging": "half",
}
_COLUMNS = (
    ("Edge", ("balancer",)),
    ("API", ("api",)),
    (
        "State",
        ("postgres-primary", "postgres-replica", "valkey-primary", "valkey-replica", "sentinel"),
    ),
    ("Work", ("worker", "supervisor", "operator", "mailbox")),
)
_ALGORITHMS = {"roundrobin": "round robin", "leastconn": "least connections", "iphash": "IP hash"}


@dataclass(frozen=True, slots=True)
class PartNode:
    """One part as it is drawn."""

    name: str
    title: str
    coin: str
    word: str
    facts: str


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """The instances of one release."""

    title: str
    word: str
    nodes: list[PartNode]


def topology_columns(state: OperatorState) -> list[tuple[str, list[PartNode | NodeGroup]]]:
    columns: list[tuple[str, list[PartNode | NodeGroup]]] = []
    for head, roles in _COLUMNS:
        parts = [part for part in state.parts if part.role in roles]
        parts.sort(key=lambda part: roles.index(part.role))
        if head == "API":
            columns.append((head, list(_by_release(parts, state))))
        else:
            columns.append((head, [part_node(part, state) for part in parts]))
    return columns


def _by_release(parts: list[PartStatus], state: OperatorState) -> list[NodeGroup]:
    groups: dict[tuple[str, str], list[PartStatus]] = {}
    for part in parts:
        groups.setdefault(((part.colour or "").capitalize(), part.release), []).append(part)
    return [
        NodeGroup(
            title=f"{colour} · {release}",
            word=_word(members),
            nodes=[part_node(part, state) for part in members],
        )
        for (colour, release), members in groups.items()
    ]


def _word(parts: list[PartStatus]) -> str:
    for states, word in (
        (("standby",), "kept"),
        (("draining", "stopped"), "going out"),
        (("starting",), "coming in"),
    ):
        if all(part.state in states for part in parts):
            return word
    return "serving"


def part_node(part: PartStatus, state: OperatorState) -> PartNode:
    word = part.state
    if part.lag is not None and (part.lag.seconds or 0.0) > LAG_LIMIT_S and word == "ready":
        word = "lagging"
    kind = part.role.partition("-")[2]
    title = f"{part.name} · {kind}" if kind in ("primary", "replica") else part.name
    shown = "no answer" if part.state == "failed" and part.health == "failing" else word
    facts = [text for text in (*_facts(part, state), *_common(part)) if text]
    return PartNode(part.name, title, _COINS[word], shown, " · ".join(facts))


def _facts(part: PartStatus, state: OperatorState) -> list[str]:
    if part.role == "balancer":
        rate = state.traffic.requests_s
        shown = f"{rate:,.0f} req/s" if rate is not None else ""
        return [shown, _ALGORITHMS.get(state.algorithm, state.algorithm)]
    if part.role == "api":
        seen = state.traffic.instances.get(part.name)
        if seen is None:
            return []
        time = f"{seen.p50_s * 1000:.0f} ms" if seen.p50_s is not None else ""
        return [f"{seen.requests_s:,.0f} req/s", time, f"{seen.in_flight} open"]
    if part.role == "worker":
        return [f"{part.queue.replace('/', ' of ')} jobs" if part.queue else ""]
    if part.role == "postgres-replica" and part.lag is not None:
        return [f"{format_lag(part.lag)} behind"]
    return []


def _common(part: PartStatus) -> list[str]:
    if part.state in ("stopped", "failed"):
        return [part.note]
    restarts = f"restarts: {part.restarts}" if part.restarts else ""
    load = ""
    if part.load is not None and part.role != "api":
        load = f"{part.load.cpu:.0%} CPU, {part.load.memory_mb:.0f} MB"
    up = f"up {format_seconds(int(part.uptime))}" if part.uptime is not None else ""
    return [load, up, restarts]
