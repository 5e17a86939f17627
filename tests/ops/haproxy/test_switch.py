"""Switch: all requests go to other instances in one change, under load and after a restart."""

import asyncio
from pathlib import Path

from florin.ops.fleet.timing import Timing
from florin.ops.haproxy import runtime_api
from tests.ops.haproxy.haproxy_process import FAST, client, running
from tests.ops.haproxy.stub_instances import standins

TIMING: Timing = FAST
BLUE, GREEN = ("blue-1", "blue-2"), ("green-1", "green-2")


async def test_no_request_fails_and_none_reaches_the_old_ones_after_the_switch(
    tmp_path: Path,
) -> None:
    async with standins(*BLUE, *GREEN) as made, running(tmp_path, timing=TIMING) as run:
        by_name = made
        blue = {name: by_name[name].address for name in BLUE}
        green = {name: by_name[name].address for name in GREEN}
        await run.balancer.switch_servers(blue, ())
        ended, statuses = asyncio.Event(), list[int]()

        async def call() -> None:
            async with client(run.base) as http:
                while not ended.is_set():
                    statuses.append((await http.get("/api/v1/cards")).status_code)

        calls = [asyncio.create_task(call()) for _ in range(6)]
        pid = (await runtime_api.send_command(run.balancer.edge.socket, "show info")).split(
            "\nPid: "
        )[1]
        for _ in range(5):
            await run.balancer.switch_servers(green, BLUE)
            await asyncio.sleep(0.05)  # what had been sent is answered
            before = {name: len(by_name[name].calls) for name in BLUE}
            await asyncio.sleep(0.2)
            assert {name: len(by_name[name].calls) for name in BLUE} == before
            assert all(by_name[name].calls for name in GREEN)
            await run.balancer.switch_servers(blue, GREEN)
            await asyncio.sleep(0.1)
        ended.set()
        await asyncio.gather(*calls)
        assert set(statuses) == {200}
        assert len(statuses) > 100
        now = await runtime_api.send_command(run.balancer.edge.socket, "show info")
        assert now.split("\nPid: ")[1].split()[0] == pid.split()[0]  # no reload


async def test_a_restarted_balancer_knows_who_serves(tmp_path: Path) -> None:
    async with standins(*BLUE, *GREEN) as made, running(tmp_path, timing=TIMING) as run:
        by_name = made
        await run.balancer.switch_servers({n: by_name[n].address for n in BLUE}, ())
        await run.balancer.switch_servers({n: by_name[n].address for n in GREEN}, BLUE)
        run.kill()
        await run.start(restore=False)
        for each in made.values():
            each.calls.clear()
        async with client(run.base) as http:
            for _ in range(20):
                assert (await http.get("/api/v1/cards")).status_code == 200
        assert not any(by_name[name].calls for name in BLUE)


async def test_admissions_are_sent_before_drains(tmp_path: Path) -> None:
    """The old instances have lower slots: in the order of slots none would serve for a moment."""
    async with standins(*BLUE, *GREEN) as made, running(tmp_path, timing=TIMING) as run:
        by_name = made
        await run.balancer.switch_servers({n: by_name[n].address for n in BLUE}, ())
        sent: list[str] = []

        async def record(_socket: Path, commands: list[str]) -> None:
            sent.extend(commands)

        real, runtime_api.send_changes = runtime_api.send_changes, record
        try:
            await run.balancer.switch_servers({n: by_name[n].address for n in GREEN}, BLUE)
        finally:
            runtime_api.send_changes = real
        states = [command.rsplit(" ", 1)[1] for command in sent if " state " in command]
        assert states == sorted(states, key=lambda state: state != "ready")
        assert {"ready", "drain"} == set(states)
