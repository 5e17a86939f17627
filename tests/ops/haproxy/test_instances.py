"""Real instances behind the balancer, killed, frozen, stopped: no request with a key fails.

The log of the load's clients must equal the ledger to the cent.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from florin.kit.postgres.database import Database, open_connection
from tests.conftest import Servers
from tests.journeys.faults import accounts
from tests.journeys.faults.tills import Log, Till
from tests.ops.haproxy.haproxy_process import FAST, Running, running
from tests.support import postgres_server
from tests.support.instance import Instance, Shop, instance, make_shop

TIMING = replace(FAST, probe_every_s=0.5, probe_timeout_s=0.5, drain_s=2.5, drain_max_s=6)
_DATABASE, _TILLS, _ROUNDS = "balanced", 8, 2


@dataclass(frozen=True, slots=True)
class Balanced:
    run: Running
    instances: list[Instance]
    server: postgres_server.Server

    async def kill(self) -> None:
        one = self.instances[0]
        await asyncio.to_thread(one.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(one.start)

    async def freeze(self) -> None:
        process = self.instances[1].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await self.run.until("api-2", lambda seen: seen.check == "down")
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGCONT)
        await self.run.until("api-2", lambda seen: seen.check == "up")

    async def leave(self) -> None:
        one = self.instances[0]
        assert await asyncio.to_thread(one.stop) == 0
        await asyncio.to_thread(one.start)
        await self.run.until("api-1", lambda seen: seen.check == "up")

    async def lose_the_balancer(self) -> None:
        self.run.kill()
        await self.run.start()


FAULTS = ("kill", "freeze", "leave", "lose_the_balancer")


@pytest.fixture(scope="module")
async def balanced(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Balanced]:
    server = await servers.migrated("18")
    await postgres_server.make_database(server, _DATABASE)
    url = f"{server.url('florin_app', _DATABASE)}?connection_limit=6&pool_timeout=20"
    with ExitStack() as stack:
        instances = [stack.enter_context(instance(url, **TIMING.environ())) for _ in range(2)]
        async with running(tmp_path_factory.mktemp("balanced"), timing=TIMING) as run:
            for number, one in enumerate(instances, 1):
                await run.balancer.admit(f"api-{number}", f"127.0.0.1:{one.port}")
            try:
                yield Balanced(run, instances, server)
            finally:
                for one in instances:
                    one.kill()


async def _shop(server: postgres_server.Server) -> Shop:
    owner = await open_connection(server.url("florin_owner", _DATABASE), name="tests")
    database = Database(server.url("florin_app", _DATABASE))
    await database.open()
    try:
        return await make_shop(owner, database)
    finally:
        await owner.close()
        await database.close()


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_request_with_a_key_fails_and_the_ledger_agrees(
    balanced: Balanced, fault: str
) -> None:
    shop, log, stop = await _shop(balanced.server), Log(), asyncio.Event()
    base = f"{balanced.run.base}/api/v1"
    async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=60) as http:
        tills = [Till([http], shop.program, log, seed=seed) for seed in range(_TILLS)]
        await asyncio.gather(*(till.sell() for till in tills))
        working = [asyncio.ensure_future(till.work(stop)) for till in tills]
        try:
            for _ in range(_ROUNDS):
                before = log.answered
                while log.answered < before + 100:
                    await asyncio.sleep(0.01)
                    assert not any(till.done() for till in working)
                await getattr(balanced, fault)()
        finally:
            stop.set()
            await asyncio.gather(*working)
        failed = [call for call in log.calls if call.tries > 1]
        if fault != "lose_the_balancer":  # open connections break with it: their callers retry
            assert failed == [], log.summary()
        await accounts.compare(http, log)


def test_the_log_of_the_balancer_holds_no_code(balanced: Balanced, tmp_path: Path) -> None:
    del tmp_path
    said = balanced.run.log.read_text("utf-8")
    assert "idempotency" not in said.lower()
    assert "Bearer" not in said
