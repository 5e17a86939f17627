"""HAProxy process: a test's own HAProxy on free ports, ended by its pid."""

import asyncio
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from florin.ops.fleet.timing import DEFAULT, Timing
from florin.ops.haproxy import program
from florin.ops.haproxy.balancer import Balancer, InstanceState
from florin.ops.haproxy.settings import CONNECTIONS_PER_SOURCE, BalancerSettings
from florin.ops.system import os_user
from tests.support.instance import NO_TLS
from tests.support.ports import free_port

# All durations are a tenth of the defaults; the required inequalities still hold.
FAST: Timing = replace(
    DEFAULT,
    probe_every_s=0.2,
    probe_when_doubtful_s=0.05,
    probe_timeout_s=0.2,
    idle_s=2.0,
    idle_purge_every_s=0.2,
    app_idle_s=3.0,
    drain_s=1.5,
    drain_quiet_s=0.2,
    drain_max_s=4.0,
    slots=6,
)


@dataclass(slots=True)
class Running:
    """A balancer and its process; `start` after `kill` is a restart."""

    balancer: Balancer
    log: Path
    process: subprocess.Popen[Any] | None = None

    @property
    def base(self) -> str:
        return f"http://{self.balancer.address}"

    @property
    def operator(self) -> str:
        return f"http://127.0.0.1:{self.balancer.edge.operations_port}"

    async def start(self, *, restore: bool = True) -> None:
        spec = self.balancer.wanted()
        spec.prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                spec.launch.argv, stdout=log, stderr=log, cwd="/", env=dict(spec.launch.environ)
            )
        deadline = time.monotonic() + 60
        while not await spec.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text("utf-8")[-3000:])
            await asyncio.sleep(0.01)
        if restore:
            await spec.settle()

    async def relieve(self) -> subprocess.Popen[Any]:
        """Start the next process while this one runs, as a fleet does; return the replaced one."""
        spec, before = self.balancer.wanted(), self.process
        assert spec.relief is not None
        assert before is not None
        spec.prepare()
        argv = spec.relief.launch(before.pid).argv
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                argv, stdout=log, stderr=log, cwd="/", env=dict(spec.launch.environ)
            )
        deadline = time.monotonic() + 20
        while not await spec.relief.answers(self.process.pid):
            if self.process.poll() is not None or time.monotonic() > deadline:
                before.kill()
                before.wait(10)
                raise AssertionError(self.log.read_text("utf-8")[-3000:])
            await asyncio.sleep(0.01)
        await spec.settle()
        return before

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    async def seen(self, name: str) -> InstanceState:
        return next(seen for seen in await self.balancer.observe() if seen.name == name)

    async def until(
        self, name: str, holds: Callable[[InstanceState], bool], within_s: float = 60
    ) -> float:
        """Wait until `holds` is true for the instance; return the seconds that passed."""
        begun = time.monotonic()
        while not holds(await self.seen(name)):
            assert time.monotonic() - begun < within_s, await self.balancer.observe()
            await asyncio.sleep(0.01)
        return time.monotonic() - begun


@asynccontextmanager
async def running(
    folder: Path,
    *,
    timing: Timing = FAST,
    trusted: tuple[str, ...] = (),
    tls: bool = False,
    host: str = "127.0.0.1",
    started: bool = True,
    per_source: int = CONNECTIONS_PER_SOURCE,
) -> AsyncGenerator[Running]:
    edge = BalancerSettings(
        timing=timing,
        host=host,
        port=free_port(),
        operations_port=free_port(),
        fleet_metrics_port=free_port(),
        trusted_proxies=trusted,
        connections_per_source=per_source,
        tls=tls,
        # With spaces, and longer than the maximal path of a socket.
        folder=folder / f"a balancer's own {'x' * 90}",
        user=os_user.choose_account([]),
        threads=2,
    )
    made = Running(Balancer(edge, program.find_haproxy()), folder / "balancer.log")
    try:
        if started:
            await made.start()
        yield made
    finally:
        made.kill()


@asynccontextmanager
async def client(base: str, **options: Any) -> AsyncGenerator[httpx.AsyncClient]:
    options = {"verify": NO_TLS, "timeout": 60, **options}
    async with httpx.AsyncClient(base_url=base, **options) as made:
        yield made
