"""Deploys with jobs in flight and with killed supervisors."""

import asyncio
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.bench.scenarios import faulty_releases
from florin.ops.fleet import audit_log, desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.postgres.connection import open_session
from florin.ops.topology.topology import running_urls
from tests.kit.queue import toys
from tests.ops.conftest import WITHIN_S, TestFleet, run_cli, until
from tests.ops.rollout.test_workers import toy_session, toy_table, working
from tests.support.waiting import until as eventually


def of_one(fleet: TestFleet) -> None:
    """Scale to a single instance: the hardest one to replace, and the fastest."""
    fleet.home.make()
    desired_state.save_desired_state(fleet.home, DesiredState(api=1))


@asynccontextmanager
async def fed(fleet: TestFleet) -> AsyncGenerator[list[str]]:
    """Put a job every tenth of a second while the body runs; yields the words of all of them."""
    words, ended = list[str](), asyncio.Event()

    async def feed() -> None:
        async with toy_session(fleet) as connection:
            while not ended.is_set():
                words.append(f"fed {len(words)}")
                await toys.fill(connection, toys.word(words[-1], "slow", seconds=0.3))
                await asyncio.sleep(0.1)

    feeding = asyncio.create_task(feed())
    try:
        yield words
    finally:
        ended.set()
        await feeding


async def ran(connection: Any) -> dict[str, list[int]]:
    """Return the processes in which each job had its effect."""
    rows = await connection.fetch(
        "select word, array_agg(pid) pids from florin.toy"
        " where word ~ '^(fed|new|too new) [0-9]+$' group by word"
    )
    return {row["word"]: row["pids"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["rolling", pytest.param("blue-green", marks=pytest.mark.long_form("fleets"))]
)
async def test_no_job_is_lost_or_doubled_and_none_is_read_by_who_cannot(
    fleet: TestFleet, tmp_path: Path, strategy: str
) -> None:
    """Old workers meet new payloads and new workers old ones, with jobs always in flight."""
    of_one(fleet)
    fleet.workers = "1"
    fleet.up()
    newer = faulty_releases.make_faulty_release(tmp_path, "good")
    with (newer / "src" / "florin" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(f"TOYS_VERSION = {toys.NEWEST + 1}\n")
    async with toy_table(fleet) as connection:

        async def new_payloads(name: str) -> None:
            jobs = (toys.word(f"{name} {n}", version=toys.NEWEST + 1) for n in range(3))
            await toys.fill(connection, *jobs)

        async def works() -> int:
            """Return the worker's process once it has done something."""
            pid = working(fleet)["worker-1"].pid
            await eventually(lambda: _worked(connection, pid))
            return pid

        async with fed(fleet) as words:
            pids = [await works()]
            await new_payloads("new")
            deploy = ("deploy", f"--{strategy}", "--release", str(newer), "--soak", "0s")
            for command in (deploy, ("rollback",), ("restart", "worker-1")):
                said = await asyncio.to_thread(run_cli, fleet, *command)
                assert said.returncode == 0, said.stderr
                pids.append(await works())
                if command == ("rollback",):
                    await new_payloads("too new")
        await eventually(lambda: _all(connection, words))
        effects = await ran(connection)
    assert {len(where) for where in effects.values()} == {1}
    assert len(set(pids)) == 4
    assert set(effects) == {*words, "new 0", "new 1", "new 2"}
    assert {effects[f"new {n}"][0] for n in range(3)} == {pids[1]}
    async with open_session(running_urls(fleet.home)["DATABASE_URL_OWNER"]) as owner:
        left = await owner.fetch(
            "select payload->>'word' word, attempts from florin.queue_job where kind = 'effect'"
        )
    assert Counter(tuple(row) for row in left) == Counter((f"too new {n}", 0) for n in range(3))


async def _worked(connection: Any, pid: int) -> bool:
    return any(pid in where for where in (await ran(connection)).values())


async def _all(connection: Any, words: list[str]) -> bool:
    return set(words) <= set(await ran(connection))


@contextmanager
def asked(fleet: TestFleet) -> Generator[list[str]]:
    """Send requests continuously; yields the failures."""
    wrong, ended = list[str](), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{fleet.port}", timeout=30) as http:
            while not ended.wait(0.02):
                try:
                    answer = http.get("/api/v1/cards")
                except httpx.HTTPError as error:
                    wrong.append(repr(error))
                else:
                    wrong.extend([answer.text] * (answer.status_code != 200))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    try:
        yield wrong
    finally:
        ended.set()
        for each in asking:
            each.join()


def ended(fleet: TestFleet, child: subprocess.Popen[str]) -> bool:
    """Wait until the supervisor is killed, or has got to the end; say which."""
    until(lambda: child.poll() or fleet.ready(child.pid), "the supervisor's end, or the plan's")
    return child.poll() is not None


@pytest.mark.slow
def test_the_supervisor_killed_at_every_step_of_a_plan(fleet: TestFleet, tmp_path: Path) -> None:
    """Each that follows finishes one step and is killed in its second, the last one excepted."""
    of_one(fleet)
    newer = faulty_releases.make_faulty_release(tmp_path, "good")
    fleet.environ["STANDIN_DIES_AT"] = "1"
    child = fleet.up()
    fleet.environ["STANDIN_DIES_AT"] = "2"
    before, kills = fleet.process("api-1"), 0
    with asked(fleet) as wrong:
        deployed = run_cli(fleet, "deploy", "--release", str(newer), "--soak", "0s")
        assert "The supervisor ended before the order was complete" in deployed.stderr
        assert child.wait(WITHIN_S) == -signal.SIGKILL
        while ended(fleet, child):
            kills += 1
            child = fleet.launch()
    # Start, admit, drain, stop, for the spare one and the one that stays: a quick one ends before
    # its supervisor does, and is not killed in the middle.
    assert kills >= 3
    assert wrong == []
    assert set(fleet.processes_of("api")) == {"api-1"}
    assert fleet.process("api-1") != before
    assert desired_state.load_desired_state(fleet.home).release == fleet.part("api-1").release
    assert audit_log.read_operations(fleet.home)[-1].message == "finished after an interruption"


@pytest.mark.slow
def test_the_supervisor_killed_at_every_step_of_a_switch_and_of_the_way_back(
    fleet: TestFleet, tmp_path: Path
) -> None:
    """Each supervisor finishes one step and is killed in its second, as above."""
    of_one(fleet)
    newer = faulty_releases.make_faulty_release(tmp_path, "good")
    fleet.environ["STANDIN_DIES_AT"] = "1"
    child = fleet.up()
    fleet.environ["STANDIN_DIES_AT"] = "2"
    before = fleet.process("api-1")
    with asked(fleet) as wrong:
        for words, serves, waits in (
            (("deploy", "--blue-green", "--release", str(newer)), "api-green-1", "api-1"),
            (("rollback",), "api-1", "api-green-1"),
        ):
            ordered = run_cli(fleet, *words)
            assert "The supervisor ended before the order was complete" in ordered.stderr
            assert child.wait(WITHIN_S) == -signal.SIGKILL
            fleet.environ["STANDIN_DIES_AT"] = "2"
            while ended(fleet, child):
                child = fleet.launch()
            kept = desired_state.load_desired_state(fleet.home)
            assert desired_state.instance_names(1, kept.colour) == (serves,)
            story = audit_log.format_operations(audit_log.read_operations(fleet.home))
            assert kept.standby is not None, story
            assert list(kept.standby.marks) == [waits]
            assert fleet.part(serves).drained is False
            assert fleet.part(waits).drained is True
            last = audit_log.read_operations(fleet.home)[-1]
            assert last.message == "finished after an interruption"
            # The next order meets a supervisor that is killed in its first step.
            fleet.environ["STANDIN_DIES_AT"] = "1"
            fleet.kill_supervisor(child)
            child = fleet.up()
            assert fleet.part(waits).drained is True
    assert wrong == []
    assert fleet.process("api-1") == before
