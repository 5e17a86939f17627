"""Demo load: workers scale up and down with it, the queue becomes empty and no job is lost."""

import asyncio
import os
import signal
from functools import partial

import pytest

from florin.demo.load import DemoLoad
from florin.demo.load_report import LoadReport, Sample
from florin.ops.autoscaling import decision_log
from florin.ops.diagnostics import resource_usage
from florin.ops.fleet import welcome
from florin.ops.haproxy import frontend
from tests.ops.conftest import TestFleet

WAVE, CARDS = 200, 50
WITHIN_S = 240


@pytest.mark.slow
async def test_workers_come_with_the_load_and_go_after_it(fleet: TestFleet) -> None:
    fleet.workers, fleet.whole = "auto", True
    child = fleet.up()
    demo = welcome.read_demo(fleet.home)
    assert demo is not None
    load = DemoLoad(
        demo.program,
        partial(resource_usage.read_resource_usage, fleet.home),
        wave=WAVE,
        cards=CARDS,
        every_s=3600,
        minutes=10,
    )
    bases = frontend.base_urls(fleet.home)
    assert len(bases) == 1
    found = load.report
    running = asyncio.ensure_future(load.run(bases, {"authorization": f"Bearer {demo.api_key}"}))
    async with asyncio.timeout(WITHIN_S):
        # Until all jobs are requested during sales, and a worker was added.
        while found.asked < WAVE or found.redeemed < 2 or found.workers[1] < 2:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.1)
        for name in ("api-1", "balancer"):
            sold, ended = found.sold, fleet.process(name)
            os.kill(ended.pid, signal.SIGKILL)
            await asyncio.to_thread(fleet.successor, name, ended)
            while found.sold < sold + 10:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.1)
            if name == "api-1":
                assert found.broken == 0, "the balancer asks another one"
        load.stop()
        await running
    assert (found.asked, found.finished, found.lost, found.left) == (WAVE, WAVE, [], 0)
    assert found.cards_made == WAVE * CARDS
    before, most, after = found.workers
    assert (before, after) == (1, 1)
    assert most >= 2
    assert found.balanced
    assert found.right, found.text()
    assert any(sample.connections for sample in found.samples)
    reasons = {entry.decision.reason for entry in decision_log.read_decisions(fleet.home)}
    assert {"grow", "shrink"} <= reasons
    fleet.end(child)


def samples(memory: list[float], connections: list[int] | None = None) -> list[Sample]:
    counts = connections or [20] * len(memory)
    return [
        Sample(float(at * 60), {"api-1": mb, "postgres-1": mb * mb}, count, 1, 0)
        for at, (mb, count) in enumerate(zip(memory, counts, strict=True))
    ]


def test_growth_is_reported() -> None:
    flat = [60.0, 90, 100, 101, 100, 102, 100, 101, 103]
    leak = [60.0, 90, 100, 110, 120, 130, 140, 150, 160]
    found = LoadReport(seconds=600, balanced=True, samples=samples(flat))
    assert (found.grew, found.right) == ([], True)
    assert "api-1           60.0 ->   103.0, at most   103.0 MB" in found.text()
    found.samples = samples(leak)
    assert (found.grew, found.right) == (["api-1"], False)
    assert "GREW: api-1" in found.text()
    found.samples = samples(flat, [20, 20, 20, 20, 20, 20, 40, 60, 80])
    assert found.grew == ["connections"]
    found.seconds = 60  # too short to say
    assert found.grew == []
    found.lost = ["job_1: failed, 3 cards"]
    assert not found.right
    assert found.document()["right"] is False
