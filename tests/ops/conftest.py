"""Fixtures: fleets with real engines, free ports and separate homes, removed after each test."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import processes as pids
from florin.ops.system.processes import ProcessId
from tests.support.ports import free_port

STANDIN = Path(__file__).with_name("stub_fleet.py")
WITHIN_S = 120  # reached on a busy machine only
_OURS = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "FLORIN_", "PG")


def until(ask: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """Call `ask` until it returns something other than None or False; return that."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    pytest.fail(f"waited {within_s} s in vain: {what}")


class TestFleet:
    """A home and the supervisors that ran it."""

    __test__ = False

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.port = free_port()
        self.workers = ""  # a number, auto or last: real workers, on a real schema
        self.whole = False  # the product's own processes
        self.python = sys.executable
        self.supervisors: list[subprocess.Popen[str]] = []
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(_OURS)
        }

    def launch(self) -> subprocess.Popen[str]:
        """Start a supervisor and return at once."""
        command = [self.python, "-P", str(STANDIN), "up", str(self.home.path), str(self.port)]
        command += [self.workers] if self.workers else []
        command += ["whole"] if self.whole else []
        child = subprocess.Popen(
            command,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.supervisors.append(child)
        return child

    def up(self) -> subprocess.Popen[str]:
        """Start a supervisor and return once the whole fleet serves."""
        child = self.launch()
        until(lambda: child.poll() is not None or self.ready(child.pid), "the fleet to serve")
        if child.returncode is not None:
            pytest.fail(f"the supervisor ended: {child.communicate()[1]}")
        return child

    def ready(self, pid: int) -> bool:
        me = self.home.fleet().part("supervisor")
        return me is not None and me.pid == pid and me.state == "ready"

    def refused(self) -> str:
        """Start a supervisor that must fail, and return its message."""
        child = self.launch()
        _, output = child.communicate(timeout=WITHIN_S)
        assert child.returncode == 1, output
        assert "Traceback" not in output
        return output.strip().splitlines()[-1]

    def part(self, name: str) -> Part:
        part = observe_fleet(self.home).part(name)
        assert part is not None, f"there is no {name}"
        return part

    def process(self, name: str) -> ProcessId:
        process = self.part(name).process
        assert process is not None, f"{name} does not run"
        return process

    def processes(self) -> dict[str, ProcessId]:
        names = ("postgres-1", "valkey-1", "api-1", "api-2", "balancer")
        return {name: self.process(name) for name in names}

    def processes_of(self, role: str) -> dict[str, ProcessId | None]:
        return {
            part.name: part.process for part in observe_fleet(self.home).parts if part.role == role
        }

    def successor(self, name: str, before: ProcessId) -> ProcessId:
        """Wait until the next process of a part serves."""

        def ask() -> ProcessId | None:
            part = observe_fleet(self.home).part(name)
            if part is None or part.state != "ready" or part.process in (None, before):
                return None
            return part.process

        return until(ask, f"{name} to be started again")

    def end(self, child: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """Send a signal to the supervisor only, wait for its end, return its output."""
        child.send_signal(number)
        _, output = child.communicate(timeout=WITHIN_S)
        return output

    def kill_supervisor(self, child: subprocess.Popen[str]) -> None:
        child.kill()
        child.communicate(timeout=WITHIN_S)

    def clean_up(self) -> None:
        for child in self.supervisors:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(60)
                child.kill()
            child.communicate()
        for part in observe_fleet(self.home).parts:
            if part.process is not None and part.pid != os.getpid():
                pids.send_signal(part.process, signal.SIGKILL)
        layout = self.home.layout()
        for place in filter(None, (layout.data_dir, layout.releases)):
            if place.startswith("/var/lib/florin/homes/"):
                shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(self.home.path, ignore_errors=True)


def run_cli(fleet: TestFleet, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "florin", *words, "--home", str(fleet.home.path)],
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=WITHIN_S * 2,
        check=False,
    )


def document(output: subprocess.CompletedProcess[str]) -> Any:
    """Decode stdout, which must contain one JSON document only."""
    return msgspec.json.decode(output.stdout)


async def yes() -> bool:
    return True


def make_spec(name: str, *argv: str, wiring: str = "") -> PartSpec:
    return PartSpec(
        name=name,
        role="api",
        address="127.0.0.1:1",
        release="r1",
        launch=Launch(name=name, argv=argv or ("true",), environ={"PATH": "/bin:/usr/bin"}),
        ready=yes,
        ready_within_s=5,
        wiring=wiring,
    )


@pytest.fixture
def make_fleet() -> Iterator[Callable[[], TestFleet]]:
    """Make homes in a directory that all users may enter, such as /srv."""
    made: list[TestFleet] = []

    def make() -> TestFleet:
        folder = Path(tempfile.mkdtemp(prefix="florin test "))
        folder.chmod(0o711)
        made.append(TestFleet(folder))
        return made[-1]

    try:
        yield make
    finally:
        for fleet in made:
            fleet.clean_up()


@pytest.fixture
def fleet(make_fleet: Callable[[], TestFleet]) -> TestFleet:
    return make_fleet()
