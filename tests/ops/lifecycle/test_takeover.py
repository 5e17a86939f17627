"""Takeover: `florin up` replaces a running supervisor, and no other process stops."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.control import socket
from florin.ops.fleet import audit_log, operation_lock
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.fleet.operation_lock import Operation
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.orders import Order, Reply, ReportProgress
from florin.ops.lifecycle import takeover
from florin.ops.lifecycle.succession import HAND_OVER, is_waiting
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from tests.ops.conftest import TestFleet
from tests.support.ports import free_port


def test_a_takeover_stops_no_other_process(fleet: TestFleet) -> None:
    first = fleet.up()
    running = fleet.processes()
    second = fleet.up()
    _, output = first.communicate(timeout=30)
    assert first.returncode == 0
    assert "Another supervisor takes over" in output
    assert "Stopped" not in output
    assert fleet.processes() == running
    assert audit_log.read_operations(fleet.home)[-1].what == f"florin up (pid {second.pid})"
    # It watches the processes that it did not start as well, and stops them in order.
    processes.send_signal(running["api-1"], signal.SIGKILL)
    fleet.successor("api-1", running["api-1"])
    running = fleet.processes()
    assert "Stopped postgres-1" in fleet.end(second)
    assert not any(processes.is_alive(process) for process in running.values())


@pytest.mark.slow
def test_no_supervisor_takes_over_during_a_change(fleet: TestFleet) -> None:
    first = fleet.up()
    me = processes.find_process(first.pid)
    assert me is not None
    changing = Operation(who="alice", what="florin deploy", pid=me.pid, started=me.started)
    operation_lock.save_operation(fleet.home, changing)
    output = fleet.refused()
    assert "changing the fleet: alice (florin deploy" in output
    operation_lock.release_lock(fleet.home)
    before = fleet.process("api-1")
    processes.send_signal(before, signal.SIGKILL)
    fleet.successor("api-1", before)  # the first supervisor still watches


def test_another_database_is_refused_before_anything_ends(fleet: TestFleet) -> None:
    first = fleet.up()
    fleet.environ["DATABASE_URL"] = "postgresql://other@127.0.0.1:1/elsewhere"
    output = fleet.refused()
    assert "its own PostgreSQL as its database, but DATABASE_URL names 127.0.0.1:1" in output
    assert first.poll() is None
    fleet.kill_supervisor(first)
    output = fleet.refused()
    assert "DATABASE_URL names 127.0.0.1:1" in output
    assert "adopt them with florin up" in output
    assert fleet.part("api-1").process is not None


async def test_a_supervisor_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, me = Home(tmp_path / "home"), processes.find_process(os.getpid())
    home.make()
    handle = home.lock()
    assert handle is not None
    assert me is not None
    options = UpOptions(home=home, environ=dict(os.environ), port=free_port())
    with pytest.raises(OperatorError, match="is starting or stopping"):
        await asyncio.to_thread(takeover.take_over, options)
    frozen = Part(name="supervisor", role="supervisor", state="ready", release="r1", pid=me.pid)
    home.write_fleet(Fleet(parts=(replace(frozen, started=me.started),)))
    monkeypatch.setattr(takeover, "_ANSWERS_WITHIN_S", 0.2)
    silence = asyncio.Event()

    async def hear(_order: Order, _report: ReportProgress) -> Reply:
        await silence.wait()
        return Reply("", done=True)

    async with await socket.serve_orders(home, hear):
        with pytest.raises(OperatorError, match=rf"kill -KILL {me.pid} \(all other parts"):
            await asyncio.to_thread(takeover.take_over, options)
        silence.set()
    os.close(handle)


def test_a_takeover_order_ends_with_the_process_that_sent_it() -> None:
    """A frozen supervisor reads the order after it resumes; by then its successor has given up."""
    me = processes.find_process(os.getpid())
    assert me is not None
    there = Order(HAND_OVER, options={"pid": me.pid, "started": me.started})
    gone = Order(HAND_OVER, options={"pid": me.pid, "started": "before"})
    assert (is_waiting(there), is_waiting(gone)) == (True, False)


def test_only_differences_are_ordered(tmp_path: Path) -> None:
    options = UpOptions(home=Home(tmp_path), environ={}, api=3, workers=2, algorithm="iphash")
    as_asked = DesiredState(api=3, workers=2, algorithm="iphash")
    assert takeover.differing_options(options, as_asked) == []
    assert takeover.differing_options(replace(options, api=None), replace(as_asked, api=5)) == []
    assert takeover.differing_options(options, DesiredState()) == [
        ("scale", "", {"api": "3", "workers": "2"}),
        ("balance", "iphash", {}),
    ]
    assert takeover.differing_options(replace(options, workers="auto"), as_asked) == [
        ("scale", "", {"workers": "auto"})
    ]
