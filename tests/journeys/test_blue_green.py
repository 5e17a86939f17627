"""Blue-green under load: a full set is started, checked, switched to, kept, and returned to.

`bin/test --long deploys` kills the supervisor at every step, and verifies rolling deployments, too.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from florin.bench.scenarios import faulty_releases
from florin.bench.scenarios.fleet import BenchFleet
from florin.ops.diagnostics.status import read_status
from florin.ops.fleet import audit_log, desired_state, operation_lock
from florin.ops.fleet.observe import observe_fleet
from florin.ops.fleet.options import florin_command
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from tests.support.loaded_fleet import failed, load, running_fleet
from tests.support.long_forms import EVERY

BLUE, GREEN = ("api-1", "api-2"), ("api-green-1", "api-green-2")
SHORT_STEPS = (3,)  # of six: the switch


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[BenchFleet]:
    async with running_fleet(instances=2) as made:
        yield made


async def status(fleet: BenchFleet) -> Any:
    """Return the status once every part is ready: a worker may just be starting."""
    async with asyncio.timeout(60):
        while True:
            shown = msgspec.to_builtins(await read_status(fleet.home))
            if shown["state"] == "ready":
                return shown
            await asyncio.sleep(0.2)


def states(shown: Any) -> dict[str, str]:
    return {part["name"]: part["state"] for part in shown["parts"] if part["role"] == "api"}


def pids(fleet: BenchFleet) -> dict[str, int | None]:
    return {part.name: part.pid for part in observe_fleet(fleet.home).of("api")}


async def to_blue(fleet: BenchFleet) -> None:
    """Have blue serve without a standby, whatever the test before left."""
    kept = desired_state.load_desired_state(fleet.home)
    if kept.colour == "green":
        await fleet.deploy("good", "--keep", "0s", soak="0s", strategy="blue-green")
    elif kept.standby is not None:
        await fleet.deploy("good", soak="0s")
    assert set(pids(fleet)) == set(BLUE)


async def settled_status(fleet: BenchFleet) -> str:
    """What `florin status` says once every part is ready; the operator process is the last."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OperatorError):
                return await fleet.florin("status")


@pytest.mark.slow
async def test_all_is_switched_at_once_kept_and_returned_to(fleet: BenchFleet) -> None:
    before, kept = pids(fleet), desired_state.load_desired_state(fleet.home)
    async with load(fleet) as log:
        said = await fleet.deploy("good", soak="1s", strategy="blue-green")
        assert "florin rollback returns to it" in said
        shown = await status(fleet)
        assert states(shown) == dict.fromkeys(BLUE, "standby") | dict.fromkeys(GREEN, "ready")
        assert shown["serving"]["colour"] == "green"
        standby = shown["serving"]["standby"]
        assert (standby["colour"], standby["release"]) == ("blue", kept.release)
        assert 500 < standby["left_s"] <= 600
        assert "kept until" in await settled_status(fleet)
        assert {name: pids(fleet)[name] for name in BLUE} == before
        assert "is on standby" in await fleet.florin("restart", "api-1", expect=1)

        document = msgspec.json.decode((await fleet.florin("rollback", "--json")).splitlines()[-1])
        assert document["switched_s"] <= 1
        shown = await status(fleet)
        assert states(shown) == dict.fromkeys(BLUE, "ready") | dict.fromkeys(GREEN, "standby")
        assert {name: pids(fleet)[name] for name in BLUE} == before
        assert shown["serving"]["release"] == kept.release
        workers = [part for part in shown["parts"] if part["role"] == "worker"]
        assert {part["release"] for part in workers} == {kept.release}
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")
async def test_the_standby_is_removed_after_its_time_and_a_rollback_deploys_again(
    fleet: BenchFleet,
) -> None:
    await to_blue(fleet)
    release = desired_state.load_desired_state(fleet.home).release
    async with load(fleet) as log:
        await fleet.florin("deploy", "--blue-green", "--soak", "0s", "--keep", "2s")
        async with asyncio.timeout(30):
            while set(pids(fleet)) != set(GREEN):  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.1)
        shown = await status(fleet)
        assert shown["serving"]["release"] != release
        assert shown["serving"]["standby"] is None
        assert audit_log.read_operations(fleet.home)[-1].what.startswith("remove the standby")
        await fleet.florin("scale", "api=3")
        assert set(pids(fleet)) == {*GREEN, "api-green-3"}
        await fleet.florin("scale", "api=2")
        await fleet.florin("rollback")
        assert set(pids(fleet)) == set(GREEN)
        assert desired_state.load_desired_state(fleet.home).release == release
    assert failed(log) == []


@pytest.mark.slow
async def test_a_release_that_answers_wrongly_gets_no_request(fleet: BenchFleet) -> None:
    await to_blue(fleet)
    before = pids(fleet)
    async with load(fleet) as log:
        said = await fleet.deploy("takes twice as much", expect=1, strategy="blue-green")
        assert faulty_releases.FAULTS["takes twice as much"].says in said
        assert pids(fleet) == before
        record = audit_log.read_operations(fleet.home)[-1]
        assert record.outcome == "undone"
        assert "did not pass its check" in record.message
        assert record.details is not None
        assert record.details["outcome"] == "undone"
    assert failed(log) == []


@pytest.fixture
def long_form(pytestconfig: pytest.Config) -> None:
    if not every_step(pytestconfig):
        pytest.skip("bin/test --long deploys runs it")


def every_step(config: pytest.Config) -> bool:
    return bool(config.getoption("--every-step")) or config.getoption("--form") == EVERY


@pytest.fixture
def strategy(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> str:
    """Return how to deploy; the short form deploys blue-green only."""
    if request.param == "rolling" and not every_step(pytestconfig):
        pytest.skip("bin/test --long deploys runs it")
    return str(request.param)


@pytest.mark.usefixtures("long_form")  # the short form has it in tests/gate
@pytest.mark.parametrize("strategy", ["rolling", "blue-green"], indirect=True)
async def test_a_cent_that_only_the_gate_sees_is_undone(fleet: BenchFleet, strategy: str) -> None:
    await to_blue(fleet)
    before = pids(fleet)
    said = await fleet.deploy("takes a cent", "--verify", expect=1, soak="0s", strategy=strategy)
    assert "the ledger differs from the client's log" in said
    assert pids(fleet) == before
    assert "ledger differs" in audit_log.read_operations(fleet.home)[-1].message


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["rolling", "blue-green"], indirect=True)
async def test_a_verified_deployment_says_what_it_proved(fleet: BenchFleet, strategy: str) -> None:
    await to_blue(fleet)
    async with load(fleet) as log:
        said = await fleet.deploy("good", "--verify", "--json", soak="500ms", strategy=strategy)
        document = msgspec.json.decode(said.splitlines()[-1])
        proved = document["verification"]
        assert proved["failed"] == 0
        assert proved["requests"] >= 400
        assert 0 < proved["bound"] < 0.0075
        assert proved["routes"] >= 20
        assert "with 95 % confidence at most" in audit_log.read_operations(fleet.home)[-1].message
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")
async def test_green_that_loses_its_database_is_left_at_once(fleet: BenchFleet) -> None:
    await to_blue(fleet)
    before = pids(fleet)
    async with load(fleet) as log:
        said = await fleet.deploy("loses its database", expect=1, soak="40s", strategy="blue-green")
        assert "requests were refused (503)" in said
        assert pids(fleet) == before
        undone = time.monotonic()
        await asyncio.sleep(1)
    assert {asked.status for asked in failed(log)} <= {503}
    assert [asked for asked in failed(log) if asked.at > undone] == []


@pytest.mark.slow
async def test_a_hook_that_fails_stops_the_deployment(fleet: BenchFleet) -> None:
    await to_blue(fleet)
    before, folder = pids(fleet), fleet.home.path / "hooks"
    folder.mkdir(mode=0o700)
    hook = folder / "before-switch"
    try:
        hook.write_text("#!/bin/sh\necho no change on Fridays\nexit 1\n", "utf-8")
        hook.chmod(0o700)
        async with load(fleet) as log:
            said = await fleet.deploy("good", expect=1, soak="0s", strategy="blue-green")
        assert "The hook before-switch failed (exit code 1): no change on Fridays" in said
        assert pids(fleet) == before
        assert failed(log) == []
    finally:
        hook.unlink(missing_ok=True)
        folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 7))
async def test_a_supervisor_killed_at_any_step(
    fleet: BenchFleet, step: int, pytestconfig: pytest.Config
) -> None:
    if step not in SHORT_STEPS and not pytestconfig.getoption("--every-step"):
        pytest.skip("bin/test --long deploys runs it")
    await to_blue(fleet)
    before = pids(fleet)
    async with load(fleet) as log:
        await fleet.cut_off(step, "--blue-green")
        shown = await status(fleet)
        assert states(shown) == dict.fromkeys(BLUE, "standby") | dict.fromkeys(GREEN, "ready")
        assert {name: pids(fleet)[name] for name in BLUE} == before
        assert audit_log.read_operations(fleet.home)[-1].message == "finished after an interruption"
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")
async def test_a_deployer_that_is_killed_interrupts_nothing(fleet: BenchFleet) -> None:
    await to_blue(fleet)
    async with load(fleet) as log:
        words = florin_command("deploy", "--blue-green", "--home", str(fleet.home.path))
        child = await asyncio.create_subprocess_exec(
            *words, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert child.stderr is not None
        async for line in child.stderr:
            if line.startswith(b"[1/"):
                child.kill()
                break
        await child.wait()
        async with asyncio.timeout(60):
            while operation_lock.load_operation(fleet.home) is not None:  # noqa: ASYNC110 -- a file
                await asyncio.sleep(0.1)
        assert states(await status(fleet)) == (
            dict.fromkeys(BLUE, "standby") | dict.fromkeys(GREEN, "ready")
        )
        record = audit_log.read_operations(fleet.home)[-1]
        assert record.outcome == "done"
        assert record.details is not None
        assert record.details["strategy"] == "blue-green"
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")
async def test_a_verified_deployment_that_is_killed_is_undone(fleet: BenchFleet) -> None:
    """The log of the requests so far is lost, so nothing is proved."""
    await to_blue(fleet)
    before = pids(fleet)
    async with load(fleet) as log:
        await fleet.cut_off(4, "--blue-green", "--verify")
        assert pids(fleet) == before
        assert states(await status(fleet)) == dict.fromkeys(BLUE, "ready")
        assert audit_log.read_operations(fleet.home)[-1].outcome == "undone"
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")  # the short form does it with stubs: test_deploy_with_workers
async def test_a_flip_that_is_killed_is_finished(fleet: BenchFleet) -> None:
    await to_blue(fleet)
    await fleet.deploy("good", soak="0s", strategy="blue-green")
    before = pids(fleet)
    async with load(fleet) as log:
        flip = asyncio.create_task(fleet.florin("rollback", expect=1))
        async with asyncio.timeout(30):
            while not (fleet.home.run / "operation.json").exists():  # noqa: ASYNC110 -- a file
                await asyncio.sleep(0.01)
        leader = fleet.part("supervisor").process
        assert leader is not None
        processes.send_signal(leader, signal.SIGKILL)
        with contextlib.suppress(OperatorError):
            await flip
        await fleet.up()
        shown = await status(fleet)
        assert set(states(shown).values()) == {"ready", "standby"}
        assert pids(fleet) == before
        serving = shown["serving"]["colour"]
        assert {name for name, state in states(shown).items() if state == "ready"} == set(
            BLUE if serving == "blue" else GREEN
        )
    assert failed(log) == []


@pytest.mark.usefixtures("long_form")
async def test_an_instance_of_the_standby_that_dies_comes_back_without_requests(
    fleet: BenchFleet,
) -> None:
    await to_blue(fleet)
    await fleet.deploy("good", soak="0s", strategy="blue-green")
    async with load(fleet) as log:
        before = fleet.part("api-1").process
        assert before is not None
        processes.send_signal(before, signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:
                if pids(fleet)["api-1"] not in (None, before.pid):
                    break
                await asyncio.sleep(0.1)
        assert states(await status(fleet))["api-1"] == "standby"
        document = msgspec.json.decode((await fleet.florin("rollback", "--json")).splitlines()[-1])
        assert document["release"] == desired_state.load_desired_state(fleet.home).release
    assert failed(log) == []
