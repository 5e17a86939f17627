"""Any loss: a fleet with all it can have loses each of its processes in turn, under load.

What is asked of it is asked once, by the balancer; only when that is killed itself do connections
break, and what they carried is asked again by its key.
"""

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest

from florin.demo.load import DemoLoad
from florin.ops.diagnostics import resource_usage
from florin.ops.fleet import welcome
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.haproxy import frontend
from florin.ops.system import processes
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet, running

JOBS, CARDS = 20, 500
WITHIN_S = 60
BETWEEN = 5  # cards that are sold


def parts(fleet: Fleet) -> list[Part]:
    """All running parts, the balancer last."""
    found = [part for part in observe_fleet(fleet.home).parts if part.process is not None]
    return sorted(found, key=lambda part: part.role == "balancer")


async def lose(fleet: Fleet, name: str) -> None:
    """Kill a part and wait until it runs again."""
    part = observe_fleet(fleet.home).part(name)
    assert part is not None
    assert part.process is not None
    processes.send_signal(part.process, signal.SIGKILL)
    if part.role == "supervisor":  # the service manager of the host, or the operator, starts it
        await processes.wait_gone(part.process)
        await asyncio.to_thread(fleet.up)

    def back() -> bool:
        now = observe_fleet(fleet.home).part(name)
        again = now is not None and now.state == "ready" and now.process not in (None, part.process)
        return again and fleet.whole()

    try:
        await asyncio.to_thread(until, back, f"{name} to be there again", WITHIN_S)
    except pytest.fail.Exception as failed:
        log = fleet.home.log("supervisor").read_text("utf-8").splitlines()[-40:]
        pytest.fail("\n".join([str(failed), *map(repr, observe_fleet(fleet.home).parts), *log]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "valkey", ["sentinel", pytest.param("cluster", marks=pytest.mark.long_form("fleets"))]
)
async def test_whichever_process_is_killed_no_request_fails(tmp_path: Path, valkey: str) -> None:
    words = ("--api", "3", "--replicas", "2", "--workers", "1", "--valkey", valkey)
    with running(tmp_path, *words) as fleet:
        demo = welcome.read_demo(fleet.home)
        assert demo is not None
        look = partial(resource_usage.read_resource_usage, fleet.home)
        load = DemoLoad(demo.program, look, wave=JOBS, cards=CARDS, every_s=3600, minutes=None)
        headers = {"authorization": f"Bearer {demo.api_key}"}
        loading = asyncio.ensure_future(load.run(frontend.base_urls(fleet.home), headers))
        found = load.report

        async def more() -> None:
            sold = found.sold
            while found.sold < sold + BETWEEN:
                assert not loading.done(), loading.exception()
                await asyncio.sleep(0.05)

        await more()
        names = [part.name for part in parts(fleet)]
        assert len(names) == len({*names}) == 17
        for name in names:
            assert found.broken == 0, f"before {name} was killed"
            await lose(fleet, name)
            await more()
        load.stop()
        await loading
    assert (found.finished, found.cards_made) == (JOBS, JOBS * CARDS)
    assert found.right, found.text()
