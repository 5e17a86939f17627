"""A Swarm of three nodes, of which one is lost under load, and a deployment before that."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from tests.containers.conftest import FORM
from tests.containers.engine import EngineUnavailable
from tests.containers.nodes import Node, running_nodes
from tests.containers.repeating_clients import repeating_clients
from tests.containers.stack import Stack, running_stack, until_true

pytestmark = pytest.mark.long_form(FORM)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(running_nodes(3))
        except EngineUnavailable as reason:
            pytest.skip(f"no three Docker engines can be started here: {reason}")
        yield made


@pytest.fixture(scope="module")
def stack(nodes: list[Node]) -> Iterator[Stack]:
    manager, *workers = nodes
    manager.engine.docker("swarm", "init", "--advertise-addr", manager.address)
    join = ("swarm", "join-token", "--quiet", "worker")
    token = manager.engine.docker(*join).stdout.strip()
    for one in workers:
        words = ("--token", token, "--advertise-addr", one.address, f"{manager.address}:2377")
        one.engine.docker("swarm", "join", *words)
    places = {
        label: node.engine.docker("info", "--format", "{{.Swarm.NodeID}}").stdout.strip()
        for label, node in zip(("florin.primary", "florin.replica"), nodes, strict=False)
    }
    with running_stack(manager.engine, places) as made:
        yield made


async def test_three_nodes_deploy_and_lose_one_under_load(stack: Stack, nodes: list[Node]) -> None:
    manager, *workers = nodes
    await until_true(stack.is_whole, within_s=180)
    stack.engine.docker("service", "scale", "--detach", "florin_api=3")
    await until_true(stack.is_whole, within_s=60)
    merchant = await asyncio.to_thread(stack.demo_merchant, [each.engine for each in nodes])
    every = [f"{each.address}:{stack.port}" for each in nodes]
    async with repeating_clients(every, merchant) as log:
        await log.more(50)
        began = time.monotonic()
        words = ("deploy", "--target", "swarm", "--release", "florin:2", "--json")
        said = await asyncio.to_thread(stack.florin, *words)
        assert msgspec.json.decode(said.stdout)["outcome"] == "done"
        print(f"rolled out on three nodes in {time.monotonic() - began:.1f} s")
    assert log.failed == 0, log.failures

    # A worker with an instance: Swarm may place two on one node.
    lost = next(each for each in workers if stack.tasks("api", each.engine))
    [other] = [each for each in workers if each is not lost]
    addresses = [f"{each.address}:{stack.port}" for each in (manager, other)]
    async with repeating_clients(addresses, merchant) as log:
        await log.more(50)
        began = time.monotonic()
        lost.unplug()
        await until_true(lambda: not is_ready(stack, lost), within_s=90)
        print(f"Swarm sees that the node is down after {time.monotonic() - began:.1f} s")
        await until_true(lambda: instances(stack, [manager, other]) == 3, within_s=120)
        print(f"three instances run again after {time.monotonic() - began:.1f} s")
        await log.more(100)
    assert log.longest_s < 30


def is_ready(stack: Stack, node: Node) -> bool:
    words = ("node", "ls", "--format", "{{.ID}}={{.Status}}")
    own = node.engine.docker("info", "--format", "{{.Swarm.NodeID}}").stdout.strip()
    return f"{own}=Ready" in stack.engine.docker(*words).stdout.split()


def instances(stack: Stack, nodes: list[Node]) -> int:
    return sum(len(stack.tasks("api", node.engine)) for node in nodes)
