"""Page fleet: two instances behind the fleet's own balancer, and a person who presses again."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from florin.ops.fleet.timing import DEFAULT
from tests.conftest import Urls
from tests.ops.haproxy.haproxy_process import Running, running
from tests.support.instance import Instance, instance
from tests.support.waiting import until

NAMES: tuple[str, ...] = ("a", "b")
_WITHIN_S = 60.0
# What a balancer or an instance answers while a process has just died; the page says to try again.
_AGAIN = frozenset((502, 503, 504))


@dataclass(slots=True)
class PageFleet:
    """`instances` by name, each admitted to the balancer `run`."""

    run: Running
    instances: dict[str, Instance]

    @property
    def base(self) -> str:
        return self.run.base

    async def kill(self, name: str) -> None:
        """SIGKILL: nothing is finished, and the balancer learns of it by itself."""
        await asyncio.to_thread(self.instances[name].kill)

    async def restart(self, name: str) -> None:
        """Start a killed instance, and wait until the balancer sends it requests."""
        await asyncio.to_thread(self.instances[name].start)
        await self.run.until(name, lambda seen: seen.check == "up")

    async def kill_amid(self, name: str, owner: Any, *presses: Any) -> list[httpx.Response]:
        """Kill the instance while each of the presses waits for the ledger; return their answers.

        A lock of the table that every movement of money writes to keeps them waiting.
        """
        async with owner.transaction():
            await owner.execute("lock table florin.account in share mode")
            tasks = [asyncio.ensure_future(press) for press in presses]

            async def waits() -> bool:
                row = await owner.fetchrow("select count(*) from pg_locks where not granted")
                return bool(row[0] >= len(NAMES))

            await until(waits)
            await self.kill(name)
        return await asyncio.gather(*tasks)


@asynccontextmanager
async def page_fleet(urls: Urls, folder: Path, **settings: str) -> AsyncGenerator[PageFleet]:
    url = f"{urls.app}?connection_limit=5&pool_timeout=20"
    behind = {"FLORIN_TRUSTED_PROXIES": "127.0.0.0/8", **settings}
    contexts = {name: instance(url, FLORIN_INSTANCE=name, **behind) for name in NAMES}
    async with contextlib.AsyncExitStack() as stack:
        run = await stack.enter_async_context(running(folder, timing=DEFAULT))

        async def start(name: str) -> Instance:
            made = await asyncio.to_thread(contexts[name].__enter__)
            stack.push_async_callback(asyncio.to_thread, contexts[name].__exit__, None, None, None)
            return made

        instances = dict(zip(NAMES, await asyncio.gather(*map(start, NAMES)), strict=True))
        for name, each in instances.items():
            await run.balancer.admit(name, f"127.0.0.1:{each.port}")
            await run.until(name, lambda seen: seen.check == "up")
        yield PageFleet(run, instances)


async def press(
    person: httpx.AsyncClient, path: str, data: dict[str, str] | None = None
) -> httpx.Response:
    """Open a page, or send a form; as a person does, once more while no page is there."""
    method = "GET" if data is None else "POST"
    async with asyncio.timeout(_WITHIN_S):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await person.request(method, path, data=data)
                if answer.status_code not in _AGAIN:
                    return answer
            await asyncio.sleep(0.05)
