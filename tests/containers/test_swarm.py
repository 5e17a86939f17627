"""Swarm: the stack on one node, then used, broken and deployed to under load."""

import asyncio
import time
from collections.abc import Iterator

import msgspec
import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.engine import Engine
from tests.containers.stack import Stack, running_stack, until_true
from tests.containers.topology import wait_until_served

pytestmark = pytest.mark.slow
RATE = 15.0  # steps a second
DEPLOY = ("deploy", "--target", "swarm", "--release")


@pytest.fixture(scope="module")
def stack(networked: Engine) -> Iterator[Stack]:
    networked.docker("swarm", "init", "--advertise-addr", networked.host)
    try:
        node = networked.docker("node", "ls", "--quiet").stdout.strip()
        places = {"florin.primary": node, "florin.replica": node}
        with running_stack(networked, places) as made:
            yield made
    finally:
        networked.docker("swarm", "leave", "--force")


@pytest.fixture(scope="module")
async def merchant(stack: Stack) -> CheckMerchant:
    began = time.monotonic()
    await until_true(stack.is_whole, within_s=120)
    print(f"every task runs, {time.monotonic() - began:.1f} s later")
    return stack.demo_merchant()


async def test_swarm_starts_another_task_for_one_that_is_killed(
    stack: Stack, merchant: CheckMerchant
) -> None:
    async with stack.load(merchant, rate=RATE) as load:
        await load.until(30, 30)
        killed = stack.tasks("api")[0]
        began = time.monotonic()
        await asyncio.to_thread(stack.engine.docker, "kill", "--signal", "KILL", killed)
        await until_true(lambda: len(set(stack.tasks("api")) - {killed}) == 2, within_s=60)
        await until_true(stack.is_whole, within_s=60)
        print(f"two healthy tasks {time.monotonic() - began:.1f} s after the kill")
        await load.until(load.log.requests + 50, 30)


async def test_swarm_rolls_a_release_out_without_a_failed_request(
    stack: Stack, merchant: CheckMerchant
) -> None:
    async with stack.load(merchant, rate=RATE) as load:
        await load.until(50, 30)
        began = time.monotonic()
        said = await asyncio.to_thread(stack.florin, *DEPLOY, "florin:2", "--json")
        print(f"rolled out in {time.monotonic() - began:.1f} s")
        assert msgspec.json.decode(said.stdout)["outcome"] == "done"
        await load.until(load.log.requests + 50, 30)
    assert stack.images() == {"florin:2"}


async def test_swarm_undoes_a_release_that_does_not_start(
    stack: Stack, merchant: CheckMerchant
) -> None:
    async with stack.load(merchant, rate=RATE):
        began = time.monotonic()
        said = await asyncio.to_thread(stack.florin, *DEPLOY, "florin:bad", fails=True)
        print(f"undone after {time.monotonic() - began:.1f} s")
    assert "The change was undone" in said.stderr
    assert "broken" in said.stderr
    assert stack.images() == {"florin:2"}


async def test_a_change_of_a_file_keeps_release_and_scale(stack: Stack) -> None:
    stack.engine.docker("service", "scale", "--detach", "florin_api=3")
    balancer, database = stack.tasks("balancer"), stack.tasks("database")
    with (stack.folder / "haproxy" / "haproxy-swarm.cfg").open("a", encoding="utf-8") as config:
        config.write("# changed\n")
    stack.deploy_files()
    await until_true(lambda: stack.tasks("balancer") not in ([], balancer), within_s=60)
    assert stack.tasks("database") == database
    assert stack.images() == {"florin:2"}
    assert stack.inspect("api", "{{.Spec.Mode.Replicated.Replicas}}") == "3"
    wait_until_served(stack.address)


async def test_the_release_before_returns(stack: Stack, merchant: CheckMerchant) -> None:
    async with stack.load(merchant, rate=RATE):
        began = time.monotonic()
        await asyncio.to_thread(stack.florin, "rollback", "--target", "swarm")
        print(f"rolled back in {time.monotonic() - began:.1f} s")
    assert stack.images() == {"florin:1"}
    assert stack.inspect("api", "{{.Spec.Mode.Replicated.Replicas}}") == "3"
