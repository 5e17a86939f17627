"""Faults: after any kill the other parts keep running and the killed part restarts."""

import asyncio
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from florin.ops.fleet import home
from florin.ops.postgres.connection import open_session
from florin.ops.supervisor import supervisor as supervise
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system import bundled_programs, processes
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import prepare_account, run_as
from florin.ops.topology.topology import running_urls
from tests.ops.conftest import TestFleet, document, make_spec, run_cli, until
from tests.support.ports import free_port


def test_the_next_supervisor_adopts_the_parts_of_a_killed_one(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    fleet.kill_supervisor(child)
    assert all(processes.is_alive(process) for process in running.values())
    degraded = run_cli(fleet, "status", "--json")
    assert degraded.returncode == 3
    assert document(degraded)["state"] == "degraded"
    child = fleet.up()
    assert fleet.processes() == running
    # An adopted part is not a child of the supervisor, but is watched as well.
    processes.send_signal(running["api-1"], signal.SIGKILL)
    fleet.successor("api-1", running["api-1"])
    running = fleet.processes()
    output = fleet.end(child)
    assert child.returncode == 0
    assert output.count("adopted") >= 3
    assert not any(processes.is_alive(process) for process in running.values())


def test_a_killed_api_is_started_again(fleet: TestFleet) -> None:
    fleet.up()
    before = fleet.processes()
    processes.send_signal(before["api-1"], signal.SIGKILL)
    fleet.successor("api-1", before["api-1"])
    after = fleet.processes()
    assert after["postgres-1"] == before["postgres-1"]
    assert fleet.part("api-1").restarts == 1
    shown = document(run_cli(fleet, "status", "--json"))
    assert shown["state"] == "ready"


async def test_a_killed_postgres_restarts_with_all_committed_data(fleet: TestFleet) -> None:
    fleet.up()
    url = running_urls(fleet.home)["DATABASE_URL_OWNER"]
    async with open_session(url) as connection:
        await connection.execute("create table kept (n int); insert into kept values (7)")
    before = fleet.process("postgres-1")
    processes.send_signal(before, signal.SIGKILL)
    fleet.successor("postgres-1", before)
    async with open_session(url) as connection:
        assert await connection.fetchval("select n from kept") == 7


@pytest.mark.slow
def test_a_killed_valkey_is_started_again(fleet: TestFleet) -> None:
    fleet.up()
    before = fleet.process("valkey-1")
    processes.send_signal(before, signal.SIGKILL)
    fleet.successor("valkey-1", before)


@pytest.mark.slow
def test_a_fleet_restarts_after_all_its_processes_were_killed(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    fleet.kill_supervisor(child)
    for process in (*running.values(), fleet.process("operator")):
        processes.send_signal(process, signal.SIGKILL)
    stopped = run_cli(fleet, "status", "--json")
    assert stopped.returncode == 3
    assert document(stopped)["state"] == "stopped"
    child = fleet.up()
    assert fleet.part("api-1").state == "ready"
    fleet.end(child)


@pytest.mark.slow
def test_a_started_part_without_a_record_is_found(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    fleet.kill_supervisor(child)
    path = fleet.home.run / "fleet.json"
    state = msgspec.json.decode(path.read_bytes())
    for part in state["parts"]:
        part |= {"state": "starting", "pid": None, "started": None}
    path.write_bytes(msgspec.json.encode(state))
    assert fleet.processes() == running
    child = fleet.up()
    assert fleet.processes() == running
    fleet.end(child)


@pytest.mark.slow
def test_a_lock_file_with_an_unrelated_pid_is_removed(fleet: TestFleet) -> None:
    fleet.end(fleet.up())
    folder, user = prepare_account(fleet.home.path, fleet.home.layout().data_dir)
    lock = folder / "postgres" / "data" / "postmaster.pid"
    options = {} if user is None else user.options()
    # PostgreSQL itself would mistake it for a server: it is alive and has the same user.
    unrelated = subprocess.Popen(["sleep", "600"], cwd="/", **options)
    try:
        lock.write_text(f"{unrelated.pid}\n{lock.parent}\n", "ascii")
        shutil.chown(lock, lock.parent.stat().st_uid, lock.parent.stat().st_gid)
        fleet.end(fleet.up())
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_server_that_is_not_ours_is_left_alone(fleet: TestFleet) -> None:
    fleet.end(fleet.up())
    folder, user = prepare_account(fleet.home.path, fleet.home.layout().data_dir)
    data = folder / "postgres" / "data"
    unrelated = subprocess.Popen(
        [str(bundled_programs.engine_program(bundled_programs.POSTGRES, user)), "-D", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **({} if user is None else user.options()),
    )
    try:
        until(
            lambda: run_as(user, ["cat", str(data / "postmaster.pid")]).stdout.count("\n") >= 8,
            "the unrelated server to start",
        )
        output = fleet.refused()
        assert f"(pid {unrelated.pid})" in output
        assert f"kill -INT {unrelated.pid}" in output
        assert unrelated.poll() is None
    finally:
        unrelated.send_signal(signal.SIGINT)
        unrelated.wait(90)


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    try:
        stat = Path(f"/proc/{child.pid}/stat")
        until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "Z", "the child to end")
        assert processes.find_process(child.pid) is None
    finally:
        child.wait()


def test_a_reused_pid_is_not_signalled() -> None:
    me = processes.find_process(os.getpid())
    assert me is not None
    assert processes.is_alive(me)
    before = processes.ProcessId(me.pid, f"{me.started}1")
    assert not processes.is_alive(before)
    assert not processes.send_signal(before, signal.SIGKILL)


async def test_the_end_of_a_process_is_noticed_at_once() -> None:
    child = subprocess.Popen(["sleep", "30"])  # noqa: ASYNC220 -- as the supervisor does
    process = processes.find_process(child.pid)
    assert process is not None
    child.kill()
    try:
        async with asyncio.timeout(15):  # otherwise it would have slept for 30 s
            await processes.wait_gone(process)
    finally:
        child.wait()


def test_a_full_disk_is_reported(fleet: TestFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: object) -> object:
        return SimpleNamespace(free=2**20)

    monkeypatch.setattr("florin.ops.fleet.home.shutil.disk_usage", full)
    with pytest.raises(OperatorError, match=r"is full: .*needs 300 MB and 1 MB are free"):
        home.require_space(fleet.home.path, 300, "a new database")


def test_a_fleet_stops_on_a_full_disk(
    fleet: TestFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.home.make()
    supervisor = Supervisor(fleet.home, "r1")
    supervisor.state.announce("starting")

    def full(_path: object, _content: bytes) -> None:
        raise OperatorError("The disk is full.")

    monkeypatch.setattr(home, "write_file", full)
    with pytest.raises(OperatorError):
        supervisor.state.announce("starting")
    supervisor.state.announce("ready")
    assert "The disk is full." in capsys.readouterr().err


async def test_an_unresponsive_part_is_restarted(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_ASK_EVERY_S", 0.05)
    fleet.home.make()
    supervisor = Supervisor(fleet.home, "r1")
    supervisor.state.announce("ready")
    silent: set[int | None] = set()

    async def alive() -> bool:
        return fleet.part("api-1").pid not in silent

    want = replace(make_spec("api-1", "sleep", "60"), alive=alive)
    await supervisor.start(want)
    before = fleet.process("api-1")
    await asyncio.sleep(1)
    assert fleet.process("api-1") == before
    silent.add(before.pid)
    async with asyncio.timeout(60):
        while fleet.part("api-1").restarts == 0:  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.05)
    await supervisor.stop_all()
    assert not processes.is_alive(before)


@pytest.mark.slow
def test_another_port_replaces_the_balancer_only(fleet: TestFleet) -> None:
    child = fleet.up()
    before = fleet.processes()
    fleet.kill_supervisor(child)
    fleet.port = free_port()
    child = fleet.up()
    after = fleet.processes()
    assert {name for name in after if after[name] != before[name]} == {"balancer"}
    assert fleet.part("balancer").address == f"127.0.0.1:{fleet.port}"
    until(lambda: not processes.is_alive(before["balancer"]), "the one before to finish")
    fleet.end(child)
