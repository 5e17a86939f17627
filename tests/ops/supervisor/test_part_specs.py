"""Part specs: decisions of planning and supervision, without starting a process."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.control import socket
from florin.ops.fleet.home import Home, locate_home
from florin.ops.fleet.model import Fleet, Part, Role, decode_fleet, encode_fleet
from florin.ops.fleet.pid_files import pid_file, recorded_process
from florin.ops.postgres import tuning
from florin.ops.supervisor import start_stop
from florin.ops.supervisor import supervisor as supervise
from florin.ops.supervisor.part_spec import PartStep, plan_parts
from florin.ops.supervisor.supervisor import Supervisor, restart_delay
from tests.ops.conftest import TestFleet, make_spec

_GIB = 2**30


def part(name: str, pid: int | None = 1, wiring: str = "") -> Part:
    started = None if pid is None else "boot:1"
    return Part(
        name=name, role="api", state="ready", release="r1", pid=pid, started=started, wiring=wiring
    )


def test_missing_parts_start_matching_ones_are_adopted_others_stop() -> None:
    fleet = Fleet(
        parts=(
            part("supervisor"),
            part("runs"),
            part("stopped", pid=None),
            part("rewired", wiring="old"),
            part("unwanted"),
            part("unwanted-and-stopped", pid=None),
        )
    )
    wishes = (
        make_spec("runs"),
        make_spec("stopped"),
        make_spec("rewired", wiring="new"),
        make_spec("missing"),
    )
    assert plan_parts(fleet, wishes) == (
        PartStep("adopt", "runs"),
        PartStep("start", "stopped"),
        PartStep("replace", "rewired"),
        PartStep("start", "missing"),
        PartStep("stop", "unwanted"),
    )


def test_the_database_stops_last() -> None:
    roles: tuple[Role, ...] = (
        *("postgres-primary", "postgres-replica", "valkey-primary", "valkey-replica", "sentinel"),
        *("api", "worker", "balancer", "supervisor"),
    )
    fleet = Fleet(parts=tuple(replace(part(role), role=role) for role in roles))
    order = [part.role for alike in start_stop.stop_order(fleet) for part in alike]
    assert order == [
        *("balancer", "api", "worker", "sentinel", "valkey-replica", "valkey-primary"),
        *("postgres-replica", "postgres-primary"),
    ]


def test_restarts_are_delayed_ever_longer_and_then_end() -> None:
    pauses = [restart_delay([100.0] * deaths, 101.0) for deaths in range(1, 8)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, None]
    assert restart_delay([0.0] * 50 + [100.0], 100.0) == 0.0


async def test_a_part_that_keeps_dying_is_reported_failed(
    fleet: TestFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervise, "_PAUSES_S", (0.0, 0.05, 0.1))
    fleet.home.make()
    marker = fleet.home.path / "well"
    script = f"echo the last words; test -e '{marker}' && exec sleep 60; sleep 0.2"
    supervisor = Supervisor(fleet.home, "r1")
    supervisor.state.announce("starting")
    await supervisor.start(make_spec("api-1", "/bin/sh", "-c", script))

    async with asyncio.timeout(20):
        while fleet.part("api-1").state != "failed":  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.05)
    output = capsys.readouterr().err
    assert "api-1 has failed: it ended 4 times" in output
    assert "florin restart api-1" in output
    assert "The next attempt is in 30 s" in output
    marker.touch()
    await supervisor.restart("api-1")
    assert fleet.part("api-1").state == "ready"
    await supervisor.stop_all()
    assert fleet.part("api-1").process is None


def test_facts_survive_a_round_trip() -> None:
    fleet = Fleet(parts=(part("a"), replace(part("b"), note="a \N{SNOWMAN}", restarts=3)))
    assert decode_fleet(encode_fleet(fleet)) == fleet


def test_unreadable_facts_are_ignored(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    (home.run / "fleet.json").write_text("{half", "utf-8")
    assert home.fleet() == Fleet()


@pytest.mark.parametrize("ram", [_GIB // 2, 4 * _GIB, 512 * _GIB])
def test_tuning_follows_the_machine_and_never_durability(ram: int) -> None:
    chosen = tuning.tuned_settings(5432, ram)
    assert 128 <= int(chosen["shared_buffers"].removesuffix("MB")) <= min(4096, ram // 2**21)
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert chosen[name] == "on"


def test_the_home_is_an_option_a_variable_or_a_default(tmp_path: Path) -> None:
    environ = {"FLORIN_HOME": str(tmp_path / "env"), "FLORIN_CHECKOUT": str(tmp_path)}
    assert locate_home(tmp_path / "option", environ).path == tmp_path / "option"
    assert locate_home(None, environ).path == tmp_path / "env"
    del environ["FLORIN_HOME"]
    assert locate_home(None, environ).path == tmp_path / ".florin"
    assert locate_home(None, {}).path == Path.cwd() / ".florin"


def test_a_pid_file_older_than_its_process_is_ignored(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    path = pid_file(home, "api-1")
    path.write_text(str(os.getpid()), "ascii")
    assert recorded_process(home, "api-1") is not None
    os.utime(path, (1, 1))
    assert recorded_process(home, "api-1") is None


def test_long_paths_get_a_short_socket(tmp_path: Path) -> None:
    assert len(str(socket.socket_path(Home(tmp_path / ("long" * 40))))) <= 100
    assert socket.socket_path(Home(Path("/srv/f"))) == Path("/srv/f/run/control.sock")
