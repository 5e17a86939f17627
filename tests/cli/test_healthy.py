"""Healthy: the health check of a container asks what its role serves."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from florin.cli import healthy
from tests.support.instance import Instance
from tests.support.ports import free_port

PROGRAM = "/opt/florin/bin/python\0-P\0/opt/florin/bin/florin\0"
HERE = "0::/here\n"
Processes = Callable[..., Path]


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """Makes a directory like /proc: process 7 is the check itself, the others are those given."""

    def make(*commands: str, group: str = HERE) -> Path:
        (tmp_path / "self").mkdir()
        (tmp_path / "self" / "cgroup").write_text(HERE)
        for number, command in enumerate(commands, 1):
            place = tmp_path / str(number)
            place.mkdir()
            (place / "cgroup").write_text(group)
            (place / "cmdline").write_text(command)
        return tmp_path

    return make


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLORIN_HOST", "FLORIN_PORT", "FLORIN_OPERATIONS_HOST", "FLORIN_OPERATIONS_PORT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_an_api_is_asked_at_its_port(
    api: Instance,
    processes: Processes,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLORIN_PORT", str(api.port))
    monkeypatch.setenv("FLORIN_HOST", host)
    assert healthy.main(processes(f"{PROGRAM}api\0")) == 0
    assert capsys.readouterr().out == "The api is alive.\n"


@pytest.mark.parametrize("role", ["worker", "operator"])
def test_a_role_without_a_public_port_is_asked_at_its_operations_port(
    api: Instance, processes: Processes, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance stands in: its operations port answers the same."""
    monkeypatch.setenv("FLORIN_PORT", str(free_port()))
    monkeypatch.setenv("FLORIN_OPERATIONS_PORT", api.environ["FLORIN_OPERATIONS_PORT"])
    assert healthy.main(processes(f"{PROGRAM}{role}\0", f"{PROGRAM}worker\0job\0")) == 0


def test_a_port_may_be_given_in_a_file(
    api: Instance, processes: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text(f"{api.port}\n")
    monkeypatch.setenv("FLORIN_PORT", str(free_port()))
    monkeypatch.setenv("FLORIN_PORT_FILE", str(tmp_path / "port"))
    assert healthy.main(processes(f"{PROGRAM}api\0")) == 0


def test_what_does_not_answer_is_named(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("FLORIN_PORT", str(port))
    assert healthy.main(processes(f"{PROGRAM}api\0")) == 1
    said = capsys.readouterr().err
    assert f"the api does not answer at http://127.0.0.1:{port}/health/live: " in said


def test_another_answer_than_200_is_unhealthy(
    api: Instance, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healthy, "_PATH", "/health/no-such")
    monkeypatch.setenv("FLORIN_PORT", str(api.port))
    assert healthy.main(processes(f"{PROGRAM}api\0")) == 1


def test_a_worker_without_a_port_is_told_what_to_set(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert healthy.main(processes(f"{PROGRAM}worker\0")) == 1
    assert "set FLORIN_OPERATIONS_PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        f"{PROGRAM}migrate\0",
        "python3\0-P\0-m\0florin\0migrate\0",
        f"{PROGRAM}--home\0/var/lib/api\0migrate\0--plan\0",
    ],
)
def test_a_command_that_serves_nothing_is_healthy_while_it_runs(
    processes: Processes, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    init = "/sbin/docker-init\0--\0florin\0migrate\0"
    assert healthy.main(processes(init, command)) == 0
    assert capsys.readouterr().out == "florin migrate runs and serves nothing.\n"


def test_a_container_without_a_role_is_unhealthy(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = (f"{PROGRAM}healthy\0", "sh\0", "")
    assert healthy.main(processes(*checks)) == 1
    assert "no process of Florin runs in this container" in capsys.readouterr().err


def test_processes_of_other_containers_do_not_count(processes: Processes) -> None:
    assert healthy.main(processes(f"{PROGRAM}migrate\0", group="0::/../other\n")) == 1


def test_the_check_loads_neither_the_command_line_nor_the_settings() -> None:
    """It runs every few seconds in every container."""
    code = (
        "import sys; from florin.cli import main; main(['healthy']);"
        "print(sorted({'typer', 'pydantic', 'asyncpg', 'litestar'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"
