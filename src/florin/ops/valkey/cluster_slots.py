"""Cluster slots: what a cluster of Valkeys lacks, seen in what each of its nodes says. Pure.

A node that was replaced, and comes back, is brought in line by the others. What is left to us is to
make them one cluster, and to give a node that has nothing to do a master to follow.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

COUNT = 16_384
MASTERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A line of CLUSTER NODES."""

    id: str
    port: int
    flags: frozenset[str]
    master: str  # "-" where it is one
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """What to say to whom."""

    to: str
    words: tuple[str | int, ...]


View = tuple[ClusterNode, ...]


def parse_nodes(text: str) -> View:
    """Parse the answer to CLUSTER NODES."""
    return tuple(_node(line.split()) for line in text.splitlines() if line)


def own_node(seen: View) -> ClusterNode:
    return next(node for node in seen if "myself" in node.flags)


def missing_commands(
    views: Mapping[str, View], places: Mapping[str, tuple[int, int]]
) -> list[NodeCommand]:
    """Return what to do next; nothing when all is well or only time is needed.

    `views` by the names of all nodes, `places` their ports and the ports of their buses.
    """
    ids = {name: own_node(seen).id for name, seen in views.items()}
    met = _meet(views, places, ids)
    if met or any(ids[name] not in _known(seen) for seen in views.values() for name in ids):
        return met
    held = _held(views)
    added = _add(views, ids, held)
    if added:
        return added
    return _follow(views, ids, held) or _forget(views, ids)


def _meet(
    views: Mapping[str, View], places: Mapping[str, tuple[int, int]], ids: Mapping[str, str]
) -> list[NodeCommand]:
    """Introduce to one of them whom it does not know, or knows at another address."""
    hub = next((name for name, seen in views.items() if own_node(seen).slots), next(iter(views)))
    known = _known(views[hub])
    return [
        NodeCommand(hub, ("CLUSTER", "MEET", "127.0.0.1", *places[name]))
        for name, seen in views.items()
        if name != hub
        and (
            ids[name] not in known
            or known[ids[name]].port != places[name][0]
            or ids[hub] not in _known(seen)
        )
    ]


def _add(
    views: Mapping[str, View], ids: Mapping[str, str], held: Mapping[str, frozenset[int]]
) -> list[NodeCommand]:
    """Give out the slots that nobody has: to three alike, or to who has the fewest."""
    taken = frozenset[int]().union(*held.values())
    if not taken:
        edges = [COUNT * n // MASTERS for n in range(MASTERS + 1)]
        thirds = zip(views, pairwise(edges), strict=False)
        return [
            NodeCommand(name, ("CLUSTER", "ADDSLOTSRANGE", first, end - 1))
            for name, (first, end) in thirds
        ]
    free = sorted(frozenset(range(COUNT)) - taken)
    holders = [name for name in views if ids[name] in held]
    if not free or not holders:
        return []
    least = min(holders, key=lambda name: len(held[ids[name]]))
    return [NodeCommand(least, ("CLUSTER", "ADDSLOTS", *free))]


def _follow(
    views: Mapping[str, View], ids: Mapping[str, str], held: Mapping[str, frozenset[int]]
) -> list[NodeCommand]:
    """Have masters of nothing follow those of something, who has the fewest followers first."""
    masters = [ids[name] for name in views if ids[name] in held]
    followers = Counter(dict.fromkeys(masters, 0))
    followers.update(
        own_node(seen).master for seen in views.values() if own_node(seen).master in masters
    )
    found: list[NodeCommand] = []
    for name, seen in views.items():
        if ids[name] in held or "master" not in own_node(seen).flags or not masters:
            continue
        chosen = min(masters, key=lambda each: followers[each])
        followers[chosen] += 1
        found.append(NodeCommand(name, ("CLUSTER", "REPLICATE", chosen)))
    return found


def _forget(views: Mapping[str, View], ids: Mapping[str, str]) -> list[NodeCommand]:
    """Drop nodes that are none of ours any more: one of ours began anew in their place."""
    ours = frozenset(ids.values())
    return [
        NodeCommand(name, ("CLUSTER", "FORGET", node.id))
        for name, seen in views.items()
        for node in seen
        if node.id not in ours and node.flags & {"fail", "noaddr"} and not node.slots
    ]


def _known(seen: View) -> dict[str, ClusterNode]:
    return {node.id: node for node in seen if not node.flags & {"handshake", "noaddr"}}


def _held(views: Mapping[str, View]) -> dict[str, frozenset[int]]:
    """The slots by holder, whoever of them says so: until all agree nothing is given away."""
    found: dict[str, frozenset[int]] = {}
    for node in (node for seen in views.values() for node in seen if node.slots):
        found[node.id] = found.get(node.id, frozenset()) | node.slots
    return found


def _node(words: list[str]) -> ClusterNode:
    """`id host:port@bus flags master ping pong epoch link slot…`, a slot being `5` or `5-9`."""
    address = words[1].partition("@")[0]
    ranges = [word for word in words[8:] if not word.startswith("[")]
    return ClusterNode(
        id=words[0],
        port=int(address.rpartition(":")[2]),
        flags=frozenset(words[2].split(",")),
        master=words[3],
        slots=frozenset(_slots(ranges)),
    )


def _slots(ranges: Iterable[str]) -> Iterable[int]:
    for each in ranges:
        first, _, last = each.partition("-")
        yield from range(int(first), int(last or first) + 1)
