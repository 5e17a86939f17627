"""Under load: real instances behind a real balancer, changed and broken while requests arrive.

The client repeats nothing and records every response. No request fails, and the ledger matches the
responses.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from florin.bench.scenarios import faulty_releases
from florin.bench.scenarios.fleet import BenchFleet
from florin.ops.fleet import audit_log, desired_state
from florin.ops.fleet.observe import observe_fleet
from florin.ops.haproxy import frontend
from florin.ops.system import http_probe
from florin.ops.system import processes as pids
from tests.support.event_reader import follow, since
from tests.support.instance import NO_TLS
from tests.support.loaded_fleet import failed, load, running_fleet

LONG = pytest.mark.long_form("fleets")
CLOSED = "IncompleteReadError: 0 bytes read"  # by the balancer, without an answer


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[BenchFleet]:
    async with running_fleet(instances=2) as made:
        yield made


def processes(fleet: BenchFleet) -> dict[str, int | None]:
    parts = observe_fleet(fleet.home).of("api")
    return {part.name: part.pid for part in parts if part.state == "ready"}


def release_of(fleet: BenchFleet) -> set[str]:
    return {part.release for part in observe_fleet(fleet.home).of("api")}


@pytest.mark.slow
async def test_scaled_up_and_down(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        before = processes(fleet)
        await fleet.florin("scale", "api=4")
        assert {"api-1", "api-2", "api-3", "api-4"} == set(processes(fleet))
        await fleet.florin("scale", "api=2")
        assert processes(fleet) == before
    assert failed(log) == []


@pytest.mark.slow
async def test_rolled_to_another_release_and_back(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        old, before = release_of(fleet), processes(fleet)
        await fleet.deploy("good", soak="500ms")
        assert release_of(fleet).isdisjoint(old)
        assert not set(before.values()) & set(processes(fleet).values())
        await fleet.florin("rollback")
        assert release_of(fleet) == old
        assert set(processes(fleet)) == set(before)
    assert failed(log) == []


@LONG
async def test_what_already_runs_is_deployed_all_the_same(fleet: BenchFleet) -> None:
    before = processes(fleet)
    said = msgspec.json.decode(await fleet.florin("deploy", "--soak", "0s", "--plan", "--json"))
    starts = [name for step in said["plan"] if step["verb"] == "start" for name in step["names"]]
    assert sum(name.startswith("api-") for name in starts) == 3  # both, and one that stands in
    assert "worker-1" in starts
    assert processes(fleet) == before
    async with load(fleet) as log:
        await fleet.florin("deploy", "--soak", "0s")
        assert not set(before.values()) & set(processes(fleet).values())
    assert failed(log) == []


@LONG
async def test_the_only_instance_is_restarted(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        await fleet.florin("scale", "api=1")
        before = processes(fleet)
        assert "last instance" in await fleet.florin("drain", "api-1", expect=1)
        await fleet.florin("restart", "api-1")
        assert set(processes(fleet)) == {"api-1"}
        assert processes(fleet) != before
        await fleet.florin("scale", "api=2")
    assert failed(log) == []


@LONG
async def test_a_drained_instance_gets_nothing_until_it_is_restarted(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        await fleet.florin("drain", "api-2")
        assert fleet.part("api-2").state == "draining"
        answered = await _answered(fleet, "api-2")
        await asyncio.sleep(1)
        assert await _answered(fleet, "api-2") == answered
        # Nor does another's restart bring it back, nor does it leave the other alone.
        assert "florin restart api-2" in await fleet.florin("drain", "api-1", expect=1)
        await fleet.florin("restart", "api-1")
        assert fleet.part("api-2").state == "draining"
        await fleet.florin("restart", "api-2")
        async with asyncio.timeout(60):
            while await _answered(fleet, "api-2") == 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
    assert failed(log) == []


async def _answered(fleet: BenchFleet, name: str) -> float:
    from florin.ops.rollout import soak

    return (await soak.read_counts([fleet.part(name).operations or ""])).total


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "dies soon",
        pytest.param("does not start", marks=LONG),
        pytest.param("takes one cent more and does not start", marks=LONG),
    ],
)
async def test_a_bad_release_is_rolled_back_without_failed_requests(
    fleet: BenchFleet, fault: str
) -> None:
    async with load(fleet) as log:
        before, kept = processes(fleet), desired_state.load_desired_state(fleet.home)
        said = await fleet.deploy(fault, expect=1, soak="4s")
        assert faulty_releases.FAULTS[fault].says in said
        assert "The change was undone" in said
        assert processes(fleet) == before
        assert desired_state.load_desired_state(fleet.home).release == kept.release
        assert audit_log.read_operations(fleet.home)[-1].outcome == "undone"
    assert failed(log) == []


@LONG
async def test_a_release_whose_requests_fail_is_undone(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        before = processes(fleet)
        said = await fleet.deploy("answers 500", expect=1, soak="30s")
        assert faulty_releases.FAULTS["answers 500"].says in said
        assert processes(fleet) == before
        undone = time.monotonic()
        await asyncio.sleep(1)
    assert {(asked.kind, asked.status) for asked in failed(log)} <= {("lookup", 500)}
    assert [asked for asked in failed(log) if asked.at > undone] == []


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=LONG),
        pytest.param(signal.SIGSTOP, marks=LONG),
    ],
)
async def test_an_instance_that_ends_or_freezes(fleet: BenchFleet, number: signal.Signals) -> None:
    async with load(fleet) as log:
        await fleet.kill("api-1", number)
    lost = failed(log)
    if number == signal.SIGKILL and len(lost) == 1:
        # HAProxy closes the client's connection without a byte if the instance dies between its
        # choice of an idle connection to it and the first byte sent there. Clients repeat such a
        # request (RFC 9112, 9.3.1); this one repeats nothing.
        lost = [each for each in lost if not each.answer.startswith(CLOSED)]
    assert lost == []


@LONG
async def test_instances_killed_in_turn_cost_no_request(fleet: BenchFleet) -> None:
    """Requests are in flight at every kill: each is repeated on the other instance."""
    async with load(fleet, rate=300, connections=16) as log:
        for name in ("api-1", "api-2", "api-1", "api-2"):
            await fleet.kill(name, signal.SIGKILL)
    assert failed(log) == []


@LONG
async def test_an_instance_that_is_slow(fleet: BenchFleet) -> None:
    """It gets the processor a quarter of the time."""
    async with load(fleet) as log:
        await fleet.slow("api-1", 4)
    assert failed(log) == []


@LONG
@pytest.mark.parametrize("step", [1, 9])  # at every step of stand-ins: test_deployed
async def test_a_supervisor_killed_in_the_middle(fleet: BenchFleet, step: int) -> None:
    async with load(fleet) as log:
        before = processes(fleet)
        await fleet.cut_off(step)
        after = processes(fleet)
        assert set(after) == set(before)
        assert not set(before.values()) & set(after.values())
        assert audit_log.read_operations(fleet.home)[-1].message == "finished after an interruption"
    assert failed(log) == []


@LONG
async def test_the_supervisor_becomes_another_and_all_else_runs_on(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        before = {part.name: part.process for part in observe_fleet(fleet.home).parts}
        await fleet.florin("restart", "supervisor")
        assert {part.name: part.process for part in observe_fleet(fleet.home).parts} == before
        # It still tends what it did not start itself.
        await fleet.kill("api-2", signal.SIGKILL)
    assert failed(log) == []


@LONG
async def test_another_supervisor_takes_over_and_gives_back(fleet: BenchFleet) -> None:
    """A second `florin up`, in a terminal; then that one goes to the background again."""
    async with load(fleet) as log:
        first = fleet.part("supervisor").process
        before = {name: fleet.part(name).process for name in ("balancer", *processes(fleet))}
        second = await fleet.foreground()
        assert first is not None
        assert not pids.is_alive(first)
        await fleet.florin("up", "--detach")
        assert await second.wait() == 0
        assert {name: fleet.part(name).process for name in before} == before
        await fleet.kill("api-1", signal.SIGKILL)
    assert failed(log) == []


async def test_the_metrics_of_all_instances_are_one_document(fleet: BenchFleet) -> None:
    port = fleet.home.layout().ports[frontend.OPERATIONS]
    answer = await http_probe.probe(f"127.0.0.1:{port}", "/metrics/fleet", within_s=10)
    assert answer is not None
    for name in ("api-1", "api-2"):
        assert f'florin_instance_up{{instance="{name}"}} 1'.encode() in answer.body


async def test_the_balancer_is_restarted_without_a_broken_connection(fleet: BenchFleet) -> None:
    async with load(fleet) as log:
        before = fleet.part("balancer").process
        await fleet.florin("restart", "balancer")
        assert fleet.part("balancer").process != before
        assert fleet.part("balancer").state == "ready"
        await asyncio.sleep(1)
    assert failed(log) == []


@LONG
async def test_followers_of_events_miss_none_during_changes(fleet: BenchFleet) -> None:
    shop = await fleet.sell_cards(cards=1)
    async with httpx.AsyncClient(
        base_url=f"http://{shop.address}/api/v1",
        headers={"authorization": f"Bearer {shop.key}"},
        verify=NO_TLS,
        timeout=30,
    ) as http:
        seen: list[str] = [(await http.get("/events?limit=1")).json()["data"][0]["id"]]
        reading = asyncio.create_task(follow(http, seen))
        async with load(fleet):
            for name in ("api-1", "balancer", "api-2"):
                await fleet.florin("restart", name)
            await fleet.kill("api-1", signal.SIGKILL)
        there = await since(http, seen[0])
        async with asyncio.timeout(60):
            while len(seen) <= len(there):  # noqa: ASYNC110 -- it is read elsewhere
                await asyncio.sleep(0.05)
        reading.cancel()
    assert seen[1:] == there


@LONG
async def test_the_balancer_killed_breaks_connections_and_nothing_else(fleet: BenchFleet) -> None:
    await fleet.florin("balance", "leastconn")
    await fleet.florin("drain", "api-2")
    async with load(fleet) as log:
        await fleet.kill("balancer", signal.SIGKILL)
        back = time.monotonic() - 2
        answered = await _answered(fleet, "api-2")
        await asyncio.sleep(1)
        assert await _answered(fleet, "api-2") == answered
    assert {asked.status for asked in failed(log)} <= {0}
    assert [asked for asked in failed(log) if asked.at > back] == []
    await fleet.florin("restart", "api-2")


@LONG
async def test_one_operator_at_a_time(fleet: BenchFleet) -> None:
    first = asyncio.create_task(fleet.florin("deploy", "--soak", "1s"))
    try:
        async with asyncio.timeout(60):
            while not (fleet.home.run / "operation.json").exists():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.02)
        said = await fleet.florin("scale", "api=3", expect=1)
        assert "Another operation is changing the fleet" in said
        assert "florin deploy --soak 1s" in said
    finally:
        await first
    outcomes = [entry.outcome for entry in audit_log.read_operations(fleet.home, 2)]
    assert outcomes == ["begun", "done"]
    assert "deploy" in await fleet.florin("audit")
