"""Workers of a fleet: as many as asked for, healed, replaced, sent home; no job is lost."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from florin.kit.postgres.function_sets import use_installed_functions
from florin.kit.postgres.sql_release import PACKAGED
from florin.ops.autoscaling import decision_log
from florin.ops.fleet import desired_state
from florin.ops.haproxy import frontend
from florin.ops.postgres.connection import open_session
from florin.ops.system import http_probe, processes
from florin.ops.topology.topology import running_urls
from tests.kit.queue import toys
from tests.ops.conftest import TestFleet, document, run_cli
from tests.support.waiting import until

WITHIN_S = 120


@asynccontextmanager
async def toy_table(fleet: TestFleet) -> AsyncGenerator[Any]:
    async with open_session(running_urls(fleet.home)["DATABASE_URL_OWNER"]) as connection:
        await connection.execute(toys.TABLE)
    async with toy_session(fleet) as connection:
        yield connection


@asynccontextmanager
async def toy_session(fleet: TestFleet) -> AsyncGenerator[Any]:
    """Open a session that can put toys into their queues."""
    async with open_session(running_urls(fleet.home)["DATABASE_URL"]) as connection:
        await connection.set_type_codec(
            "jsonb", encoder=_text, decoder=str, schema="pg_catalog", format="text"
        )
        await use_installed_functions(connection)
        yield connection


def _text(payload: object) -> str:
    return json.dumps(payload)


def working(fleet: TestFleet) -> dict[str, Any]:
    return {
        part.name: part.process
        for part in fleet.home.fleet().of("worker")
        if part.process and part.state == "ready" and processes.is_alive(part.process)
    }


async def effects(connection: Any) -> list[int]:
    """Return how often each job had its effect."""
    rows = await connection.fetch(
        "select count(*) times from florin.toy where word !~ 'begun' group by word"
    )
    return [row["times"] for row in rows]


@pytest.mark.slow
async def test_a_fixed_number_works_is_healed_scaled_and_stopped_in_order(
    fleet: TestFleet,
) -> None:
    fleet.workers = "2"
    child = fleet.up()
    assert set(working(fleet)) == {"worker-1", "worker-2"}
    async with toy_table(fleet) as connection:
        await toys.fill(connection, *(toys.word(n, "slow", seconds=0.5) for n in range(30)))
        killed = working(fleet)["worker-1"]
        await asyncio.sleep(0.3)
        processes.send_signal(killed, signal.SIGKILL)
        fleet.successor("worker-1", killed)
        await until(lambda: _all(connection, 30))
        assert set(await effects(connection)) == {1}

        shown = document(run_cli(fleet, "status", "--json"))
        workers = {part["name"]: part for part in shown["parts"] if part["role"] == "worker"}
        assert set(workers) == {"worker-1", "worker-2"}
        assert workers["worker-2"]["queue"].endswith(
            "/8"
        )  # five shared slots and three of one queue
        assert workers["worker-2"]["state"] == "ready"
        assert {queue["name"] for queue in shown["queues"]} >= {"toys", "poison", "few"}
        assert {"waiting", "active", "delayed", "dead", "oldest_s"} <= set(shown["queues"][0])

        grown = document(run_cli(fleet, "scale", "workers=3", "--json"))
        assert grown["workers"] == 3
        assert set(working(fleet)) == {"worker-1", "worker-2", "worker-3"}
        # Who is sent home ends what it has.
        await toys.fill(connection, *(toys.word(f"late {n}", "slow", seconds=1) for n in range(15)))
        await asyncio.sleep(0.5)
        less = run_cli(fleet, "scale", "workers=1")
        assert less.returncode == 0, less.stderr
        assert set(working(fleet)) == {"worker-1"}
        await until(lambda: _all(connection, 45))
        assert set(await effects(connection)) == {1}
    before, fleet.workers = working(fleet), "last"
    fleet.kill_supervisor(child)
    child = fleet.up()
    assert working(fleet) == before
    assert desired_state.load_desired_state(fleet.home).workers == 1

    said = run_cli(fleet, "restart", "worker-1")
    assert said.returncode == 0, said.stderr
    after = working(fleet)
    assert set(after) == {"worker-1"}
    assert after != before
    last = fleet.end(child)
    stops = [line.split(":")[0] for line in last.splitlines() if line.startswith("Stopped ")]
    assert stops[4:] == ["Stopped worker-1", "Stopped valkey-1", "Stopped postgres-1"]


async def _all(connection: Any, count: int) -> bool:
    return len(await effects(connection)) >= count


@pytest.mark.slow
async def test_workers_come_with_the_work_and_go_after_it(fleet: TestFleet) -> None:
    fleet.workers = "auto"
    child = fleet.up()
    assert set(working(fleet)) == {"worker-1"}
    async with toy_table(fleet) as connection:
        jobs = 100
        await toys.fill(connection, *(toys.word(n, "slow", seconds=0.7) for n in range(jobs)))
        async with asyncio.timeout(WITHIN_S):
            while not await _count(fleet, lambda count: count >= 3):
                await asyncio.sleep(0.5)
                if await connection.fetchval("select count(*) from florin.queue_job") < 50:
                    # Where a worker takes long to start, the work must not run out before.
                    more = [toys.word(n, "slow", seconds=0.7) for n in range(jobs, jobs + 20)]
                    await toys.fill(connection, *more)
                    jobs += 20
        text = await _fleet_metrics(fleet)
        assert int(text.split("\nflorin_workers_wanted ")[1].split()[0]) >= 3

        before, fleet.workers = working(fleet), "last"
        fleet.kill_supervisor(child)
        child = fleet.up()
        assert before.items() <= working(fleet).items()

        await until(lambda: _all(connection, jobs))
        # A worker is stopped; jobs that arrive meanwhile are done as well.
        await until(lambda: _count(fleet, lambda count: count < 3))
        await toys.fill(connection, *(toys.word(f"late {n}") for n in range(50)))
        await until(lambda: _all(connection, jobs + 50))
        assert set(await effects(connection)) == {1}

    await _is_loud_when_it_cannot_see(fleet)
    fixed = run_cli(fleet, "scale", "workers=2")
    assert fixed.returncode == 0, fixed.stderr
    assert len(working(fleet)) == 2
    decided = decision_log.read_decisions(fleet.home)
    assert {"grow", "shrink"} <= {entry.decision.reason for entry in decided}
    replayed = document(run_cli(fleet, "audit", "--autoscale", "--replay", "--json"))
    assert replayed == {"decisions": len(decided), "equal": len(decided)}

    # One that was tampered with is found out.
    first = next(entry for entry in decided if entry.decision.reason == "grow")
    forged = msgspec.structs.replace(first.decision, workers=first.decision.workers + 1)
    decision_log.append_decision(fleet.home, msgspec.structs.replace(first, decision=forged))
    assert run_cli(fleet, "audit", "--autoscale", "--replay").returncode == 1


async def _is_loud_when_it_cannot_see(fleet: TestFleet) -> None:
    """Without readings no worker is stopped; the status says so until the queues are readable."""
    assert _note(fleet) == ""
    async with open_session(running_urls(fleet.home)["DATABASE_URL_OWNER"]) as connection:
        rename = f"alter function {PACKAGED.set_name}.{{}}() rename to {{}}"
        await connection.execute(rename.format("queue_facts", "queue_facts_gone"))
        try:
            await until(lambda: _noted(fleet, "the queues cannot be read"))
        finally:
            await connection.execute(rename.format("queue_facts_gone", "queue_facts"))
    assert len(working(fleet)) >= 1
    errors = (await _fleet_metrics(fleet)).split("\nflorin_scaling_errors_total ")[1].split()[0]
    assert int(errors) >= 1
    await until(lambda: _noted(fleet, ""))


def _note(fleet: TestFleet) -> str:
    me = fleet.home.fleet().part("supervisor")
    assert me is not None
    return me.note


async def _noted(fleet: TestFleet, words: str) -> bool:
    return words in _note(fleet) if words else not _note(fleet)


async def _count(fleet: TestFleet, fits: Callable[[int], bool]) -> bool:
    return fits(len(working(fleet)))


async def _fleet_metrics(fleet: TestFleet) -> str:
    port = fleet.home.layout().ports[frontend.METRICS]
    answer = await http_probe.probe(f"127.0.0.1:{port}", "/metrics", within_s=60)
    assert answer is not None
    return answer.body.decode()
