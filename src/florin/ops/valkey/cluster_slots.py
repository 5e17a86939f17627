"""Cluster slots: the commands that complete a Valkey cluster, from the views of its nodes. Pure.

The other nodes reconfigure a node that was replaced and comes back. What is left is to join the
nodes into one cluster, to assign the slots, and to give a node without slots a master to follow.
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
    master: str  # "-" if the node is a master itself
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """A command for the node `to`."""

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
    """Return the next commands; none when the cluster is complete or only needs time.

    `views` has every node's view by name, `places` every node's port and bus port.
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
    """Introduce to one node the nodes that it does not know, or knows at another address."""
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
    """Assign the free slots: evenly to three nodes, or all to the node with the fewest."""
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
    """Make masters without slots follow masters with slots, those with fewest replicas first."""
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
    """Forget nodes that no longer belong to the cluster: they were replaced by a new node."""
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
    """Return the slots by holder, from all views: a slot is free only if all nodes agree."""
    found: dict[str, frozenset[int]] = {}
    for node in (node for seen in views.values() for node in seen if node.slots):
        found[node.id] = found.get(node.id, frozenset()) | node.slots
    return found


def _node(words: list[str]) -> ClusterNode:
    """Parse `id host:port@bus flags master ping pong epoch link slot…`; a slot is `5` or `5-9`."""
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
