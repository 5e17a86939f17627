"""Up: the first start, later starts, and every way to stop."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from florin.ops.fleet import audit_log, audit_seals, secrets
from florin.ops.postgres.connection import open_session
from florin.ops.system import http_probe
from florin.ops.system import processes as pids
from florin.ops.topology.topology import running_urls
from tests.ops.conftest import WITHIN_S, TestFleet, document, run_cli, until
from tests.support.ports import free_port

MakeFleet = Callable[[], TestFleet]


def gone(fleet: TestFleet, processes: dict[str, pids.ProcessId]) -> bool:
    del fleet
    return not any(pids.is_alive(process) for process in processes.values())


async def test_a_first_start_serves_and_sigterm_stops_everything(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    assert "postgres" in Path(pids.command_line(running["postgres-1"].pid)[0]).name
    async with open_session(running_urls(fleet.home)["DATABASE_URL"]) as connection:
        assert await connection.fetchval("select current_user") == "florin_app"
        assert await connection.fetchval("show fsync") == "on"
        assert await connection.fetchval("show data_checksums") == "on"
        assert not await connection.fetchval(
            "select rolsuper from pg_roles where rolname = 'florin_owner'"
        )
    output = fleet.end(child)
    assert child.returncode == 0
    assert gone(fleet, running)
    stops = [line.split(":")[0] for line in output.splitlines() if line.startswith("Stopped ")]
    assert stops[:2] == ["Stopped balancer", "Stopped operator"]
    assert set(stops[2:4]) == {"Stopped api-1", "Stopped api-2"}
    assert stops[4:] == ["Stopped valkey-1", "Stopped postgres-1"]


@pytest.mark.slow
def test_a_running_fleet_seals_its_audit_log(fleet: TestFleet) -> None:
    child = fleet.up()
    for n in range(2):  # one line after another: the task goes on
        audit_log.append_operation(fleet.home, "alice", f"florin scale api={n}", "done")
        until(lambda: audit_seals.verify_operations(fleet.home).unsealed == 0, "the line's seal")
    found = audit_seals.verify_operations(fleet.home)
    assert found.lines >= 2
    assert found.findings == []
    fleet.end(child)


@pytest.mark.slow
async def test_data_secrets_and_ports_survive(fleet: TestFleet) -> None:
    child = fleet.up()
    urls, own = running_urls(fleet.home), secrets.read_secrets(fleet.home)
    async with open_session(urls["DATABASE_URL_OWNER"]) as connection:
        await connection.execute("create table kept (word text); insert into kept values ('here')")
    fleet.end(child)
    fleet.up()
    assert running_urls(fleet.home) == urls
    assert secrets.read_secrets(fleet.home) == own
    async with open_session(urls["DATABASE_URL_OWNER"]) as connection:
        assert await connection.fetchval("select word from kept") == "here"


def test_only_the_owner_can_read_secrets(fleet: TestFleet) -> None:
    fleet.home.make()
    own = secrets.ensure_secrets(fleet.home)
    assert stat.S_IMODE(fleet.home.secrets.stat().st_mode) == 0o600
    assert secrets.ensure_secrets(fleet.home) == own
    assert len(set(own.values())) == len(own)
    chosen = secrets.application_secrets(own, {"JWT_SECRET": "mine"})
    assert "JWT_SECRET" not in chosen


@pytest.mark.slow
def test_ctrl_c_reaches_the_supervisor_only(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    for process in running.values():
        assert os.getsid(process.pid) == process.pid
    os.killpg(child.pid, signal.SIGINT)
    _, output = child.communicate(timeout=WITHIN_S)
    assert child.returncode == 0
    assert gone(fleet, running)
    assert "serves again" not in output
    assert output.index("Stopped api-1") < output.index("Stopped postgres-1")


def test_a_second_signal_hurries_the_stop(fleet: TestFleet) -> None:
    fleet.environ["STANDIN_STUBBORN"] = "1"
    child = fleet.up()
    api = fleet.process("api-1")
    child.send_signal(signal.SIGINT)
    until(lambda: fleet.part("api-1").state == "draining", "the stop to begin")
    assert pids.is_alive(api)
    output = fleet.end(child, signal.SIGINT)
    assert child.returncode == 0
    assert "Second signal" in output
    assert not pids.is_alive(api)


def test_a_signal_during_the_start_leaves_no_process(fleet: TestFleet) -> None:
    child = fleet.launch()
    until(lambda: fleet.home.fleet().part("postgres-1"), "the database to be started")
    fleet.end(child)
    assert child.returncode == 0
    assert all(part.process is None for part in fleet.home.fleet().parts)


def test_a_port_in_use_is_named_with_its_process(fleet: TestFleet) -> None:
    with socket.create_server(("127.0.0.1", fleet.port)):
        output = fleet.refused()
        assert f"Port {fleet.port} is in use by" in output
        assert f"(pid {os.getpid()})" in output
        assert "--port" in output
    assert fleet.home.fleet().of("postgres-primary") == ()


def test_an_engine_avoids_a_port_in_use(fleet: TestFleet) -> None:
    child = fleet.up()
    fleet.end(child)
    before = fleet.home.layout().ports["postgres"]
    with socket.create_server(("127.0.0.1", before)):
        child = fleet.up()
        assert fleet.home.layout().ports["postgres"] != before
        assert fleet.part("api-1").state == "ready"
        fleet.end(child)


@pytest.mark.parametrize("path", ["/sys/florin", "/dev/null"])
def test_an_unusable_home_is_one_sentence(fleet: TestFleet, path: str) -> None:
    command = ["up", "--port", str(fleet.port), "--home", path]
    result = subprocess.run(
        ["python", "-c", "pass"] if path == "" else [*_florin(), *command],
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert path in line
    assert "--home" in line


def test_given_urls_replace_the_engines(make_fleet: MakeFleet) -> None:
    owner, guest = make_fleet(), make_fleet()
    owner.up()
    guest.environ |= running_urls(owner.home)
    guest.up()
    assert guest.home.fleet().part("postgres-1") is None
    assert guest.home.fleet().part("valkey-1") is None
    shown = document(run_cli(guest, "status", "--json"))
    given = {part["name"]: part for part in shown["parts"]}
    assert given["database"]["role"] == "postgres-primary"
    assert given["database"]["pid"] is None
    assert given["redis"]["state"] == "ready"
    assert shown["state"] == "ready"


def test_a_database_that_cannot_be_used_is_refused(make_fleet: MakeFleet) -> None:
    owner, guest = make_fleet(), make_fleet()
    owner.up()
    url = running_urls(owner.home)["DATABASE_URL"]
    reasons = {
        url.replace("florin_app:", "florin_app:wrong"): "password",
        url.replace(owner.part("postgres-1").address or "", f"127.0.0.1:{free_port()}"): (
            "no server answers"
        ),
        f"{url}_": "no database",
    }
    for wrong, reason in reasons.items():
        guest.environ["DATABASE_URL"] = wrong
        output = guest.refused()
        assert "DATABASE_URL" in output
        assert reason in output
        assert secrets.read_secrets(owner.home)["APP_PASSWORD"] not in output


def test_other_secrets_do_not_open_the_database(fleet: TestFleet) -> None:
    fleet.end(fleet.up())
    fleet.home.secrets.unlink()
    output = fleet.refused()
    assert "secrets.json" in output


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its engines to another user")
def test_under_a_closed_directory_the_data_goes_outside(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.home.path.chmod(0o700)
    child = fleet.up()
    owner = Path(f"/proc/{fleet.process('postgres-1').pid}").stat().st_uid
    output = fleet.end(child)
    assert owner != 0
    assert output.count("/var/lib/florin/homes/") == 1
    assert str(fleet.home.path) in output
    place = Path(fleet.home.layout().data_dir or "")
    assert (place / "postgres" / "data" / "PG_VERSION").exists()
    fleet.end(fleet.up())
    assert fleet.home.layout().data_dir == str(place)


def _florin() -> list[str]:
    from florin.ops.fleet.options import florin_command

    return list(florin_command())


def _operations(fleet: TestFleet) -> dict[str, str | None]:
    """The operations address of each part, from the status."""
    parts = document(run_cli(fleet, "status", "--json"))["parts"]
    return {part["name"]: part["operations"] for part in parts}


def _metrics(address: str | None) -> str:
    answer = asyncio.run(http_probe.probe(address or "", "/metrics/fleet", within_s=10))
    assert answer is not None
    assert answer.status == 200
    return answer.body.decode()


@pytest.mark.slow
def test_the_operations_port_is_the_next_free_one_and_serves_the_fleet(fleet: TestFleet) -> None:
    with socket.create_server(("127.0.0.1", fleet.port + 1)):
        fleet.up()
        found = _operations(fleet)
        balancer = found["balancer"]
        assert balancer is not None
        assert int(balancer.removeprefix("127.0.0.1:")) > fleet.port + 1
        text = _metrics(balancer)
        for name in ("api-1", "api-2"):
            assert f'florin_instance_up{{instance="{name}"}} 1' in text
            assert (found[name] or "").startswith("127.0.0.1:")
        assert len(set(found.values())) == 5  # two instances, the balancer, the operator, None
    # For a running fleet it stays the same, although the default port is free now.
    fleet.up()
    assert _operations(fleet)["balancer"] == balancer


@pytest.mark.slow
def test_the_operations_port_moves_to_the_requested_one(fleet: TestFleet) -> None:
    fleet.up()
    assert _operations(fleet)["balancer"] == f"127.0.0.1:{fleet.port + 1}"
    requested = free_port()
    fleet.environ["STANDIN_OPERATIONS_PORT"] = str(requested)
    fleet.up()
    assert _operations(fleet)["balancer"] == f"127.0.0.1:{requested}"
    assert 'florin_instance_up{instance="api-1"} 1' in _metrics(f"127.0.0.1:{requested}")


def test_an_operations_port_in_use_is_refused_before_any_start(
    fleet: TestFleet,
) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        taken = other.getsockname()[1]
        fleet.environ["STANDIN_OPERATIONS_PORT"] = str(taken)
        output = fleet.refused()
        assert f"Port {taken} is in use" in output
        assert "--operations-port" in output
    fleet.environ["STANDIN_OPERATIONS_PORT"] = str(fleet.port)
    assert "is also the public port" in fleet.refused()
