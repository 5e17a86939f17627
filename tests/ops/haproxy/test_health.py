"""Healthy instances get requests; unhealthy ones get none, unless no instance is healthy."""

import asyncio
from pathlib import Path

import pytest

from florin.ops.fleet.model import ALGORITHMS, Algorithm
from tests.ops.haproxy.haproxy_process import Running, client, running
from tests.ops.haproxy.stub_instances import StandIn, standins


async def _ask(run: Running, times: int) -> list[int]:
    async with client(run.base) as http:
        return [(await http.get("/api/v1/cards")).status_code for _ in range(times)]


async def _admit(run: Running, fleet: dict[str, StandIn]) -> None:
    for name, each in fleet.items():
        await run.balancer.admit(name, each.address)


async def _until_called(each: StandIn, times: int) -> None:
    async with asyncio.timeout(60):
        while len(each.calls) < times:  # noqa: ASYNC110 - what a socket brings
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_unready_instance_is_removed_and_returns(
    tmp_path: Path, algorithm: Algorithm
) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        await run.balancer.switch(algorithm)
        fleet["a"].ready = 503
        out = await run.until("a", lambda seen: seen.check == "down")
        fleet["a"].calls.clear()
        assert await _ask(run, 20) == [200] * 20
        assert fleet["a"].calls == []
        fleet["a"].ready = 200
        back = await run.until("a", lambda seen: seen.check == "up")
        fleet["b"].ready = 503  # so that clients that hash to b come here as well
        await run.until("b", lambda seen: seen.check == "down")
        assert await _ask(run, 20) == [200] * 20
        assert len(fleet["a"].calls) == 20
        # A busy machine is slow: the bounds of the model, with a large margin.
        timing = run.balancer.edge.timing
        assert out < timing.ejected_within_s * 60
        assert back < timing.readmitted_within_s * 60


async def test_the_last_instance_is_never_removed(tmp_path: Path) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        for name, each in fleet.items():
            each.ready = 503
            await run.until(name, lambda seen: seen.check == "down")
        assert await _ask(run, 20) == [200] * 20
        assert fleet["a"].calls
        assert fleet["b"].calls


async def test_a_draining_instance_finishes_and_gets_no_new_requests(
    tmp_path: Path,
) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        for each in fleet.values():
            each.answering.clear()
        async with client(run.base) as http:
            begun = [asyncio.ensure_future(http.post("/api/v1/cards", json={})) for _ in range(4)]
            await _until_called(fleet["a"], 2)
            await _until_called(fleet["b"], 2)
            fleet["a"].ready = 404
            await run.until("a", lambda seen: seen.check == "draining")
            assert (await run.seen("a")).sessions == 2
            fleet["b"].answering.set()
            assert await _ask(run, 10) == [200] * 10
            fleet["a"].answering.set()
            assert [(await each).status_code for each in begun] == [200] * 4
        assert len(fleet["a"].calls) == 2


async def test_the_only_instance_serves_until_it_has_stopped(tmp_path: Path) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        fleet["a"].ready = 404
        await run.until("a", lambda seen: seen.check == "draining")
        assert await _ask(run, 5) == [200] * 5


async def test_requests_wait_for_the_restart_of_the_only_instance(tmp_path: Path) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        await fleet["a"].die()
        await run.until("a", lambda seen: seen.check == "down")
        async with client(run.base) as http:
            waiting = asyncio.ensure_future(http.post("/api/v1/cards", json={}))
            await asyncio.sleep(1)
            await fleet["a"].start()
            assert (await waiting).status_code == 200
        assert len(fleet["a"].calls) == 1


async def test_an_instance_that_the_operator_drains_finishes_and_returns(tmp_path: Path) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await _admit(run, fleet)
        for each in fleet.values():
            each.answering.clear()
        async with client(run.base) as http:
            begun = [asyncio.ensure_future(http.get("/api/v1/cards")) for _ in range(4)]
            await _until_called(fleet["a"], 2)
            await _until_called(fleet["b"], 2)
            await run.balancer.drain("a")
            seen = await run.seen("a")
            assert (seen.admin, seen.sessions) == ("drain", 2)
            fleet["b"].answering.set()
            assert await _ask(run, 10) == [200] * 10
            fleet["a"].answering.set()
            assert [(await each).status_code for each in begun] == [200] * 4
        assert len(fleet["a"].calls) == 2
        # Panic mode does not use an instance that an operator drained.
        fleet["b"].ready = 503
        await run.until("b", lambda seen: seen.check == "down")
        assert await _ask(run, 10) == [200] * 10
        assert len(fleet["a"].calls) == 2
        await run.balancer.ready("a")
        assert await _ask(run, 10) == [200] * 10
        assert len(fleet["a"].calls) > 2


async def test_the_slot_of_a_removed_instance_is_reused(tmp_path: Path) -> None:
    async with standins("a", "b", "c") as fleet, running(tmp_path) as run:
        await run.balancer.admit("one", fleet["a"].address)
        await run.balancer.admit("two", fleet["b"].address)
        await run.balancer.forget("one")
        await run.balancer.admit("three", fleet["c"].address)
        assert [(seen.name, seen.slot) for seen in await run.balancer.observe()] == [
            ("three", 1),
            ("two", 2),
        ]
        assert await _ask(run, 10) == [200] * 10
        assert fleet["a"].calls == []
        assert len(fleet["c"].calls) == 5
        # The same instance at another address: one step.
        await run.balancer.admit("two", fleet["a"].address)
        assert await _ask(run, 10) == [200] * 10
        assert len(fleet["a"].calls) == 5
