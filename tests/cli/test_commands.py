"""Commands: command lines, their output and exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from florin.cli import lazy_import, main
from florin.cli.options import whole_number
from florin.ops.fleet import desired_state
from florin.ops.system import processes
from tests.ops.conftest import WITHIN_S, TestFleet, document, run_cli, until
from tests.support.ports import free_port

ROLES = {"supervisor", "balancer", "operator", "api", "postgres-primary", "valkey-primary"}


def florin(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "florin", *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


COMMANDS = [
    *("up", "down", "status", "balance", "scale", "deploy", "rollback", "drain", "restart"),
    *("failover", "backup", "restore", "queue", "migrate", "doctor", "demo", "bench"),
    *("api", "worker", "healthy", "audit", "logs", "log-level", "mailbox"),
]


def test_every_command_has_help_with_an_example() -> None:
    listed = florin("--help").stdout
    for command in COMMANDS:
        assert f"\n  {command} " in listed
    for command in COMMANDS:
        said = florin(command, "--help")
        assert said.returncode == 0
        assert f"florin {command}" in said.stdout.split("Example:")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--rolling", "--blue-green"), "--rolling, --blue-green: give one of them"),
        (("--keep", "10m"), "--keep: only --blue-green keeps the old set"),
        (("--blue-green", "--keep", "10 minutes"), "--keep: give a time such as 5s"),
        (("--blue-green", "--soak", "-1s"), "--soak: give a time such as 5s"),
    ],
)
def test_a_deployment_that_makes_no_sense_is_refused(words: tuple[str, ...], says: str) -> None:
    said = florin("deploy", *words, "--home", "/nonexistent/home")
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr


@pytest.mark.parametrize("number", ["2.0", "1_0", " 2", "\uff12", "+2", "1e1", "25", "-1", ""])
def test_a_number_that_is_not_decimal_digits_is_refused(number: str) -> None:
    said = florin("up", f"--api={number}", "--home", "/nonexistent/home")
    assert (said.returncode, said.stdout) == (2, "")
    assert "--api: must be a whole number from 1 to 24, not " in said.stderr


@pytest.mark.parametrize(("number", "value"), [("1", 1), ("007", 7), ("24", 24), (3, 3)])
def test_decimal_digits_are_a_whole_number(number: str | int, value: int) -> None:
    option = whole_number(least=1, most=24)
    assert option.parser(number) == value


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--port", "0"),
        ("up", "--api", "25"),
        ("up", "--workers", "many"),
        ("up", "--valkey", "ring"),
        ("up", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"),
        ("up", "--tls-cert", "/etc/hostname"),
        ("balance", "random"),
        ("scale", "api=many"),
        ("scale", "api=2", "postgres=3"),
        ("deploy", "--soak", "soon"),
        ("up", "--prot", "8000"),
        ("down", "now"),
        ("audit", "-n", "many"),
        ("logs", "--since", "soon"),
        ("log-level", "api-1", "loud"),
        ("queue", "frobnicate"),
        ("no-such-command",),
        ("restart",),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_do(words: tuple[str, ...]) -> None:
    said = florin(*words)
    assert (said.returncode, said.stdout) == (2, "")
    (line,) = said.stderr.splitlines()
    assert line.startswith("florin: ")
    command = f"florin {words[0]}" if words[0] in COMMANDS else "florin"
    assert line.endswith(f"; {command} --help shows what may be given.")
    assert not any(word in line for word in ("Input should", "Value error", "unable to parse"))
    assert any(word in line for word in words[1:] or ("NAME is missing", "no-such-command")), line


def test_an_instance_stopped_while_it_starts_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At any point of its start: no KeyboardInterrupt, whose traceback would be in its log."""
    seen: list[object] = []

    def run_api() -> int:
        seen.append(signal.getsignal(signal.SIGINT))
        return 0

    monkeypatch.setattr(lazy_import, "run_api", run_api)
    before = signal.getsignal(signal.SIGINT)
    try:
        for given in (signal.default_int_handler, signal.SIG_IGN):
            signal.signal(signal.SIGINT, given)
            assert main(["api"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_DFL, signal.SIG_IGN]


def test_nothing_runs(fleet: TestFleet) -> None:
    shown = run_cli(fleet, "status", "--json")
    assert shown.returncode == 3
    assert document(shown)["parts"] == []
    assert document(shown)["state"] == "stopped"
    assert "florin up" in run_cli(fleet, "status").stdout
    stopped = run_cli(fleet, "down")
    assert stopped.returncode == 0
    assert stopped.stdout == f"Nothing runs from {fleet.home.path}.\n"
    for words in (("restart", "api-1"), ("scale", "api=2"), ("deploy",), ("rollback",)):
        said = run_cli(fleet, *words)
        assert said.returncode == 1
        assert said.stderr.count("No supervisor runs in") == 1
        assert "florin up starts one and adopts the running parts" in said.stderr
    assert run_cli(fleet, "audit").stdout == "No operations yet.\n"


def test_the_home_may_stand_before_the_command(fleet: TestFleet) -> None:
    said = florin("--home", str(fleet.home.path), "status", "--json")
    assert json.loads(said.stdout)["home"] == str(fleet.home.path)


def test_status_is_the_document_of_the_contract(fleet: TestFleet) -> None:
    child = fleet.up()
    said = run_cli(fleet, "status", "--json")
    assert said.returncode == 0
    assert said.stderr == ""
    shown = document(said)
    assert shown["queues"] == []
    assert shown["books"]["balanced"] is True
    parts = {part["role"]: part for part in shown["parts"]}
    assert set(parts) == ROLES
    for part in parts.values():
        assert {"name", "role", "release", "state", "pid", "address", "health", "load"} <= set(part)
        assert part["state"] == "ready"
        assert part["health"] == "ok"
        assert part["release"]
    assert parts["supervisor"]["pid"] == child.pid
    assert parts["balancer"]["address"] == f"127.0.0.1:{fleet.port}"
    assert Path(processes.command_line(parts["postgres-primary"]["pid"])[0]).name == "postgres"
    text = run_cli(fleet, "status").stdout
    assert all(part["name"] in text for part in parts.values())


@pytest.mark.slow
def test_a_part_that_hangs_is_shown_degraded(fleet: TestFleet) -> None:
    fleet.up()
    api = fleet.process("api-1")
    processes.send_signal(api, signal.SIGSTOP)
    try:
        said = run_cli(fleet, "status", "--json")
        assert said.returncode == 3
        (part,) = [part for part in document(said)["parts"] if part["name"] == "api-1"]
        assert part["health"] == "failing"
    finally:
        processes.send_signal(api, signal.SIGCONT)


def test_restart_replaces_one_part(fleet: TestFleet) -> None:
    fleet.up()
    before = fleet.processes()
    said = run_cli(fleet, "restart", "api-1")
    assert said.returncode == 0, said.stderr
    after = fleet.processes()
    assert after["api-1"] != before["api-1"]
    assert after["postgres-1"] == before["postgres-1"]
    unknown = run_cli(fleet, "restart", "api-9")
    assert unknown.returncode == 1
    assert "api-1" in unknown.stderr


def test_down_stops_a_fleet_in_the_foreground(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    assert run_cli(fleet, "down").returncode == 0
    assert child.wait(WITHIN_S) == 0
    assert not any(processes.is_alive(process) for process in running.values())


def test_down_stops_what_a_killed_supervisor_left(fleet: TestFleet) -> None:
    child = fleet.up()
    running = fleet.processes()
    fleet.kill_supervisor(child)
    said = run_cli(fleet, "down")
    assert said.returncode == 0
    assert not any(processes.is_alive(process) for process in running.values())
    stops = [line.split(":")[0] for line in said.stderr.splitlines() if "Stopped" in line]
    wanted = ["balancer", "operator", "api-1", "api-2", "valkey-1", "postgres-1"]
    assert stops == [f"Stopped {name}" for name in wanted]
    assert "Nothing runs" in run_cli(fleet, "down").stdout


@pytest.mark.slow
def test_detached_it_returns_when_ready_and_down_ends_it(fleet: TestFleet) -> None:
    port = free_port()
    said = run_cli(fleet, "up", "--detach", "--port", str(port), "--json")
    assert said.returncode == 0, said.stderr
    shown = document(said)
    assert shown["url"] == f"http://127.0.0.1:{port}"
    assert shown["demo"]["api_key"].startswith("flk_")
    running = fleet.processes()
    (replica,) = fleet.processes_of("postgres-replica").values()  # one, unless said otherwise
    assert replica is not None
    supervisor = fleet.process("supervisor")
    assert os.getsid(supervisor.pid) == supervisor.pid
    assert shown["demo"]["api_key"] not in fleet.home.log("supervisor").read_text("utf-8")
    # A second time it says where to look; what differs is changed; the supervisor stays.
    again = run_cli(fleet, "up", "--detach", "--json")
    assert again.returncode == 0, again.stderr
    assert document(again) == shown
    assert f"Florin already runs (pid {supervisor.pid})" in again.stderr
    other = run_cli(fleet, "up", "--detach", "--api", "1", "--balance", "leastconn")
    assert other.returncode == 0, other.stderr
    assert "florin scale api=1" in other.stderr
    assert "florin balance leastconn" in other.stderr
    assert desired_state.load_desired_state(fleet.home).algorithm == "leastconn"
    assert set(fleet.processes_of("api")) == {"api-1"}
    assert fleet.process("supervisor") == supervisor
    assert run_cli(fleet, "down").returncode == 0
    assert not any(processes.is_alive(each) for each in (*running.values(), replica, supervisor))


def test_detached_a_failed_start_is_explained(fleet: TestFleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run_cli(fleet, "up", "--detach", "--port", str(port))
    assert said.returncode == 1
    assert said.stderr.count("is in use by") == 1
    assert said.stdout == ""
    assert fleet.part("supervisor").process is None


def _well(
    found: subprocess.CompletedProcess[str],
) -> subprocess.CompletedProcess[str] | None:
    return found if found.returncode == 0 else None


def test_doctor_finds_what_is_wrong(fleet: TestFleet) -> None:
    fleet.up()
    # On a busy machine a part may take longer to answer than the doctor waits.
    found = until(lambda: _well(run_cli(fleet, "doctor", "--json")), "all to be well")
    checks = {check["name"]: check for check in document(found)["checks"]}
    assert {"settings", "disk", "durability", "connections", "role check"} <= set(checks)
    assert checks["role check"]["result"] == "ok"
    fleet.environ["DATABASE_URL"] = "postgresql://unknown@127.0.0.1:1/none?connection_limit=500"
    found = run_cli(fleet, "doctor", "db", "--json")
    assert found.returncode == 1
    assert document(found)["checks"][0]["result"] == "fail"
    fleet.environ["JWT_SECRET"] = "short"
    found = run_cli(fleet, "doctor", "config")
    assert found.returncode == 1
    assert "JWT_SECRET" in found.stdout
