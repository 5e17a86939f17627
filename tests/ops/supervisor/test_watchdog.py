"""Watchdog: no error in the supervisor itself leaves a part without supervision."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from florin.ops.backups import status, upload
from florin.ops.haproxy.runtime_api import HaproxyUnreachable
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.rollout.workers import WorkerProcesses
from florin.ops.supervisor import supervisor as supervise
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.supervisor.watchdog import Watchdog
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from tests.ops.conftest import TestFleet, make_spec, run_cli, until
from tests.support.waiting import until as eventually

WITHIN_S = 60
ERRORS = (RuntimeError("a fault"), OSError("no buffers"), asyncio.CancelledError())


def failing(error: BaseException, *, at: int) -> Callable[[], None]:
    """A function that raises the error at the call with this number."""
    calls = count(1)

    def call() -> None:
        if next(calls) == at:
            raise error

    return call


def risen(fleet: TestFleet) -> Supervisor:
    fleet.home.make()
    supervisor = Supervisor(fleet.home, "r1")
    supervisor.state.announce("ready")
    return supervisor


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("moment", ["before the start", "after the start"])
async def test_a_part_is_started_again_after_any_error_of_its_start(
    fleet: TestFleet, error: BaseException, moment: str
) -> None:
    supervisor = risen(fleet)
    fail = failing(error, at=2)  # the first start is that of the operator
    begun: list[int | None] = []

    async def settle() -> None:
        begun.append(fleet.part("api-1").pid)
        fail()

    want = make_spec("api-1", "sleep", "600")  # longer than the test waits
    early = moment == "before the start"
    want = replace(want, prepare=fail) if early else replace(want, settle=settle)
    await supervisor.start(want)
    before = fleet.process("api-1")
    processes.send_signal(before, signal.SIGKILL)

    def again() -> bool:
        part = fleet.part("api-1")
        return part.state == "ready" and part.process not in (None, before)

    try:
        await eventually(again)
        assert supervisor.watchdog.errors["restart api-1"] == 1
        if not early:
            assert begun[1] not in (None, fleet.part("api-1").pid), "half a start serves"
    finally:
        await supervisor.stop_all()
    assert fleet.part("api-1").process is None


async def test_a_balancer_that_cannot_be_configured_is_restarted(fleet: TestFleet) -> None:
    """The error of `Balancer.restore` when HAProxy ends before it is configured."""
    supervisor = risen(fleet)
    fail = failing(HaproxyUnreachable("run/haproxy.sock: no answer"), at=2)

    async def settle() -> None:
        fail()

    await supervisor.start(replace(make_spec("balancer", "sleep", "60"), settle=settle))
    before = fleet.process("balancer")
    processes.send_signal(before, signal.SIGKILL)
    try:
        await eventually(lambda: fleet.part("balancer").process not in (None, before))
        await eventually(lambda: fleet.part("balancer").state == "ready")
    finally:
        await supervisor.stop_all()


async def test_a_part_is_probed_again_after_an_error_of_a_probe(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_ASK_EVERY_S", 0.02)
    supervisor = risen(fleet)
    fail, silent = failing(ValueError("an answer that is none"), at=3), set[int | None]()

    async def alive() -> bool:
        fail()
        return fleet.part("api-1").pid not in silent

    await supervisor.start(replace(make_spec("api-1", "sleep", "60"), alive=alive))
    before = fleet.process("api-1")
    try:
        await eventually(lambda: supervisor.watchdog.errors["liveness api-1"] == 1)
        silent.add(before.pid)
        await eventually(lambda: fleet.part("api-1").process not in (None, before))
    finally:
        await supervisor.stop_all()


async def test_a_failed_start_is_repeated_without_an_operator(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_PAUSES_S", (0.0, 0.02))
    monkeypatch.setattr(supervise, "_RETRY_S", 0.5)
    supervisor = risen(fleet)
    broken: list[str] = []

    def prepare() -> None:
        if broken:
            raise OperatorError(broken[0])

    await supervisor.start(replace(make_spec("api-1", "sleep", "60"), prepare=prepare))
    before = fleet.process("api-1")
    broken.append("The disk is full.")
    processes.send_signal(before, signal.SIGKILL)
    try:
        await eventually(lambda: fleet.part("api-1").state == "failed")
        assert fleet.part("api-1").note == "The disk is full."
        broken.clear()
        await eventually(lambda: fleet.part("api-1").state == "ready")
    finally:
        await supervisor.stop_all()


@pytest.mark.long_form("fleets")
def test_valkey_restarts_once_its_port_is_free_again(fleet: TestFleet) -> None:
    """The port is in use for longer than all attempts; a waiting caller would wait for ever."""
    fleet.up()
    before = fleet.process("valkey-1")
    port = int((fleet.part("valkey-1").address or "").rpartition(":")[2])
    with socket.socket() as other:
        processes.send_signal(before, signal.SIGKILL)

        def taken() -> bool:
            try:
                other.bind(("127.0.0.1", port))
            except OSError:
                return fleet.part("valkey-1").process not in (None, before)
            other.listen(1)
            return True

        until(taken, "the port to be free")
        if other.getsockname()[1] != port:
            pytest.skip("the supervisor was quicker")
        until(lambda: fleet.part("valkey-1").state == "failed", "valkey-1 to fail")
    fleet.successor("valkey-1", before)


async def test_an_error_is_counted_and_reported_and_the_task_restarts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watchdog, runs = Watchdog(), list[int]()

    async def run() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise KeyError("s1")
        if len(runs) > 2:
            await asyncio.Event().wait()

    task = watchdog.watch("a watch", run)
    await eventually(lambda: len(runs) == 3)  # an end without an error counts as well
    output = capsys.readouterr().err
    assert "a watch" in output
    assert "KeyError('s1') (test_watchdog.py:" in output
    metrics = watchdog.metrics()
    assert 'florin_supervisor_task_errors_total{task="any"} 2\n' in metrics
    assert 'florin_supervisor_task_errors_total{task="a watch"} 2\n' in metrics
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert watchdog.errors.total() == 2


async def test_a_worker_that_fails_to_start_is_removed_and_counted(
    fleet: TestFleet,
) -> None:
    supervisor = risen(fleet)

    def make(name: str, _mark: ReleaseMark) -> PartSpec:
        broken = replace(make_spec(name, "sleep", "60"), prepare=failing(KeyError("port"), at=1))
        return replace(broken, role="worker")

    workers = WorkerProcesses(supervisor, make)
    workers.grow(1, ReleaseMark("r1", 1))
    await workers.settle()
    await asyncio.sleep(0)
    assert supervisor.fleet.of("worker") == ()
    assert (workers.failed, supervisor.watchdog.errors.total()) == (1, 1)


def test_log_segments_are_shipped_after_any_error(fleet: TestFleet, tmp_path: Path) -> None:
    """An error that ended the thread would end the shipping of logs silently."""
    fleet.home.make()
    calls = count(1)

    class Broken:
        def below(self, _folder: str) -> "Broken":
            if next(calls) == 1:
                raise KeyError("Contents")
            return self

        def names(self) -> list[str]:
            return []

    bucket: Any = Broken()
    server = SimpleNamespace(data=tmp_path, account=None, program=tmp_path / "postgres")
    members: Any = SimpleNamespace(primary=lambda: server)

    def folder(_server: Any) -> str:
        return "7"

    shipping = upload.SegmentUploader(fleet.home, tmp_path, bucket, members)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "SHIP_EVERY_S", 0.01)
        patch.setattr(upload, "folder_of", folder)
        shipping.start()
        until(lambda: status.read_outcomes(fleet.home)["shipped"].at, "the log to be passed on")
        shipping.finish()
    assert next(calls) > 2


async def test_the_error_counter_is_exported_at_zero() -> None:
    assert 'florin_supervisor_task_errors_total{task="any"} 0\n' in Watchdog().metrics()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refused", "fault"])
def test_a_change_that_an_error_interrupts_is_undone(fleet: TestFleet, kind: str) -> None:
    fleet.environ["STANDIN_FAILS_AT"] = f"2:{kind}"
    fleet.up()
    before = fleet.process("api-1")
    result = run_cli(fleet, "restart", "api-1")
    assert result.returncode != 0
    assert "The change was undone" in result.stderr
    assert fleet.process("api-1") == before
    parts = fleet.home.fleet().of("api")
    assert [(part.name, part.drained) for part in parts] == [("api-1", False), ("api-2", False)]
    result = run_cli(fleet, "restart", "api-1")
    assert result.returncode == 0, result.stderr
    assert fleet.process("api-1") != before


def test_the_supervisor_restarts_when_python_was_found_on_the_path(fleet: TestFleet) -> None:
    """`python -m florin up`: the command line does not contain the path of the program."""
    fleet.python = "python"
    fleet.environ["PATH"] = f"{Path(sys.executable).parent}:{fleet.environ['PATH']}"
    child = fleet.up()
    running, since = fleet.processes(), fleet.part("supervisor").since
    result = run_cli(fleet, "restart", "supervisor")
    assert child.poll() is None, f"it ended: {child.communicate()[1]}"
    assert result.returncode == 0, result.stderr
    assert fleet.ready(child.pid)
    assert fleet.part("supervisor").since > since
    assert fleet.processes() == running
