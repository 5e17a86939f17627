"""Valkey: its topology, the primary in the Sentinels' files, the commands to a cluster. Pure."""

from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Kind, Part
from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError
from florin.ops.topology.fleet_spec import resolve_fleet_spec
from florin.ops.valkey.cluster_slots import NodeCommand, missing_commands, own_node, parse_nodes
from florin.ops.valkey.sentinel import SentinelDeployment
from florin.ops.valkey.server import ValkeyServer
from tests.support.ports import free_port

PLACES = {f"valkey-{n}": (7000 + n, 8000 + n) for n in range(1, 7)}
SLOTS = {1: "0-5460", 2: "5461-10921", 3: "10922-16383"}


def line(n: int, *flags: str, master: str = "-", slots: str = "", port: int = 0) -> str:
    text = ",".join(flags)
    return (
        f"id{n} 127.0.0.1:{port or 7000 + n}@{8000 + n} {text} {master} 0 0 {n} connected {slots}"
    )


def seen_by(me: int, lines: dict[int, str]) -> str:
    return "\n".join(
        each.replace(" master", " myself,master").replace(" slave", " myself,slave")
        if n == me
        else each
        for n, each in lines.items()
    )


def whole() -> dict[int, str]:
    masters = {n: line(n, "master", slots=SLOTS[n]) for n in SLOTS}
    return masters | {n: line(n, "slave", master=f"id{n - 3}") for n in (4, 5, 6)}


def commands_for(lines: dict[int, str], **others: str) -> list[NodeCommand]:
    views = {
        f"valkey-{n}": parse_nodes(others.get(f"n{n}") or seen_by(n, lines)) for n in range(1, 7)
    }
    return missing_commands(views, PLACES)


def test_a_line_is_understood() -> None:
    text = (
        "a1 127.0.0.1:7001@8001,,shard-id=x myself,master - 0 0 1 connected 0-2 7 [9->-b2]\n"
        "b2 127.0.0.1:7002@8002 slave,fail? a1 5 5 1 disconnected\n"
    )
    first, second = parse_nodes(text)
    assert own_node((second, first)) == first
    assert (first.port, first.slots) == (7001, {0, 1, 2, 7})
    assert (second.master, second.flags, second.slots) == ("a1", {"slave", "fail?"}, set())


def test_nothing_is_missing() -> None:
    assert commands_for(whole()) == []


def test_unconnected_nodes_become_one_cluster_step_by_step() -> None:
    """Nodes are introduced, then get slots, then masters."""
    views = {f"valkey-{n}": parse_nodes(seen_by(n, {n: line(n, "master")})) for n in range(1, 7)}
    met = missing_commands(views, PLACES)
    assert [each.to for each in met] == ["valkey-1"] * 5
    assert met[0].words == ("CLUSTER", "MEET", "127.0.0.1", 7002, 8002)
    acquainted = {n: line(n, "master") for n in range(1, 7)}
    added = commands_for(acquainted)
    assert [each.to for each in added] == ["valkey-1", "valkey-2", "valkey-3"]
    ranges = [each.words[2:] for each in added]
    assert ranges == [(0, 5460), (5461, 10921), (10922, 16383)]
    serving = {n: line(n, "master", slots=SLOTS.get(n, "")) for n in range(1, 7)}
    following = commands_for(serving)
    assert {each.to for each in following} == {"valkey-4", "valkey-5", "valkey-6"}
    assert {each.words for each in following} == {("CLUSTER", "REPLICATE", f"id{n}") for n in SLOTS}


def test_a_handshake_is_waited_for() -> None:
    unsure = whole() | {6: line(6, "handshake")}
    assert commands_for(whole(), n2=seen_by(2, unsure)) == []


def test_a_replaced_master_is_left_to_the_others() -> None:
    """It still claims the slots, but they are the successor's, by a later epoch."""
    after = whole() | {1: line(1, "master"), 4: line(4, "master", slots=SLOTS[1])}
    assert commands_for(after, n1=seen_by(1, whole())) == []


def test_an_empty_master_replicates_a_master_without_replica() -> None:
    after = whole() | {1: line(1, "master"), 4: line(4, "master", slots=SLOTS[1])}
    assert commands_for(after) == [NodeCommand("valkey-1", ("CLUSTER", "REPLICATE", "id4"))]


def test_a_node_at_another_port_is_introduced_again() -> None:
    stale = whole() | {5: line(5, "slave", master="id2", port=7999)}
    views = {f"valkey-{n}": parse_nodes(seen_by(n, stale)) for n in range(1, 7)}
    assert [each.words[-2:] for each in missing_commands(views, PLACES)] == [(7005, 8005)]


@pytest.mark.parametrize(("flag", "slots", "forgotten"), [("fail", "", 6), ("fail", "0-9", 0)])
def test_a_failed_node_without_slots_is_forgotten(flag: str, slots: str, forgotten: int) -> None:
    """Unless the node has slots: then another node is about to take them over."""
    lines = whole() | {9: line(9, "master", flag, slots=slots)}
    commands = commands_for(lines)
    assert [each.words for each in commands] == [("CLUSTER", "FORGET", "id9")] * forgotten


def test_free_slots_go_to_the_node_with_the_fewest() -> None:
    lines = whole() | {3: line(3, "master", slots="10922-16380")}
    assert commands_for(lines) == [
        NodeCommand("valkey-3", ("CLUSTER", "ADDSLOTS", 16381, 16382, 16383))
    ]


@pytest.mark.parametrize(
    ("kept", "asked", "chosen"),
    [
        ("single", None, "single"),
        ("cluster", None, "cluster"),
        ("single", "sentinel", "sentinel"),
        ("cluster", "single", "single"),
    ],
)
def test_the_topology_is_the_one_asked_for_else_the_last(
    tmp_path: Path, kept: Kind, asked: Kind | None, chosen: Kind
) -> None:
    """A running topology is not changed; an external server is not managed."""
    home = Home(tmp_path)
    desired_state.save_desired_state(home, DesiredState(valkey=kept))
    options = UpOptions(home=home, environ={}, port=free_port(), valkey=asked)
    assert resolve_fleet_spec(options, Fleet()).desired.valkey == chosen
    part = Part(
        name="valkey-1", role="valkey-replica", state="ready", release="", pid=1, started=""
    )
    if chosen != kept:
        with pytest.raises(
            OperatorError, match=f"Valkey runs as {kept} and cannot change to {chosen}"
        ):
            resolve_fleet_spec(options, Fleet(parts=(part,)))
    else:
        assert resolve_fleet_spec(options, Fleet(parts=(part,))).desired.valkey == kept
    given = replace(options, environ={"REDIS_URL": "redis://a"})
    spec = resolve_fleet_spec(given, Fleet())
    assert spec.desired.valkey == kept
    assert spec.redis_url == "redis://a"
    assert any("--valkey has no effect" in notice for notice in spec.notices) is bool(asked)
    assert not any(key.startswith(("valkey", "sentinel")) for key in spec.layout.ports)


def test_a_new_home_has_a_replica_and_one_valkey() -> None:
    assert (DesiredState().replicas, DesiredState().valkey) == (1, "single")


def test_the_primary_is_the_one_of_the_latest_epoch(tmp_path: Path) -> None:
    def server(n: int) -> ValkeyServer:
        return ValkeyServer(
            program=tmp_path,
            version="",
            folder=tmp_path,
            port=7000 + n,
            account=None,
            secrets={"VALKEY_PASSWORD": "x", "VALKEY_OPERATOR_PASSWORD": "y"},
            name=f"valkey-{n}",
        )

    ports = {f"sentinel-{n}": 9000 + n for n in (1, 2, 3)}
    servers = {f"valkey-{n}": server(n) for n in (1, 2, 3)}
    made = SentinelDeployment(servers=servers, ports=ports, folder=tmp_path)
    assert made.primary_name() == "valkey-1"
    for n, (port, epoch) in enumerate([(7002, 4), (7003, 12), (7002, 4)], start=1):
        (tmp_path / f"sentinel-{n}").mkdir()
        text = f"port 1\nsentinel monitor florin 127.0.0.1 {port} 2\n"
        text += f"sentinel config-epoch florin {epoch}\n"
        (tmp_path / f"sentinel-{n}" / "sentinel.conf").write_text(text, "utf-8")
    assert made.primary_name() == "valkey-3"
    assert {spec.name: spec.role for spec in made.wanted()[:3]} == {
        "valkey-1": "valkey-replica",
        "valkey-2": "valkey-replica",
        "valkey-3": "valkey-primary",
    }
