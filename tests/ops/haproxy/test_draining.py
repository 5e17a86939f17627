"""Real processes are drained one after the other under load: no request fails."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.kit.http.sse import RECONNECT
from florin.ops.fleet.timing import Timing, timing_violations
from florin.ops.system import http_probe
from tests.ops.haproxy.haproxy_process import FAST, Running, client, running
from tests.ops.haproxy.stub_instances import standins
from tests.support.ports import free_port

SCRIPT = Path(__file__).parents[2] / "kit" / "server" / "draining_instance.py"
# A busy machine may stall: probes have long time-outs, all other durations are as in FAST.
TIMING: Timing = replace(FAST, probe_every_s=0.4, probe_timeout_s=0.4, drain_s=2.5, drain_max_s=6)
# No probe fails because this process is busy: the balancer would end the requests of the instance.
CALM: Timing = replace(FAST, probe_timeout_s=5)
# Around the time-outs of the pool and of the instances (0.2 s and 3 s here).
GAPS = (0.19, 0.2, 0.21, 2.9, 3.0, 3.1)


@dataclass(slots=True)
class Leaver:
    """A process that can only drain, and its name in the balancer."""

    name: str
    process: subprocess.Popen[Any]
    port: int = 0


@dataclass(slots=True)
class Seen:
    """The answers and failures of all callers."""

    answers: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    streams: list[bytes] = field(default_factory=list[bytes])


async def _start(name: str, run: Running) -> Leaver:
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
        [sys.executable, "-P", str(SCRIPT), str(port)],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), **TIMING.environ()},
    )
    made = Leaver(name, process, port)
    async with asyncio.timeout(90):
        while (await http_probe.probe(f"127.0.0.1:{port}", "/health/ready")) is None:
            assert process.poll() is None
            await asyncio.sleep(0.02)
    await run.balancer.admit(name, f"127.0.0.1:{port}")
    return made


@asynccontextmanager
async def _load(
    run: Running, *callers: Callable[[httpx.AsyncClient], Awaitable[None]], seen: Seen
) -> AsyncGenerator[None]:
    """Callers, each with its own connection, that send requests until the end."""
    stop = asyncio.Event()

    async def forever(caller: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async with client(run.base, limits=httpx.Limits(keepalive_expiry=None)) as http:
            while not stop.is_set():
                try:
                    await caller(http)
                except (httpx.TransportError, AssertionError) as error:
                    seen.failures.append(repr(error))

    tasks = [asyncio.ensure_future(forever(caller)) for caller in callers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@pytest.mark.slow
async def test_a_rolling_restart_by_signals_alone_loses_nothing(tmp_path: Path) -> None:
    assert timing_violations(TIMING) == []
    seen, leavers = Seen(), list[Leaver]()

    def posting(kind: str, gap_s: float, path: str = "/") -> Any:
        async def call(http: httpx.AsyncClient) -> None:
            # Without an idempotency key: the balancer does not retry it once it was sent.
            answer = await http.post(path)
            assert answer.status_code == 200, answer.text
            seen.answers[kind] += 1
            await asyncio.sleep(gap_s)

        return call

    async def streaming(http: httpx.AsyncClient) -> None:
        seen.streams.append((await http.get("/events")).content)

    async with running(tmp_path, timing=TIMING) as run:
        try:
            for name in ("a", "b", "c"):
                leavers.append(await _start(name, run))
            callers = [posting("steady", 0.01)] * 6 + [posting("slow", 0, "/slow?1")] * 3
            callers += [posting("idle", gap) for gap in GAPS] + [streaming] * 3
            async with _load(run, *callers, seen=seen):
                await asyncio.sleep(1)
                for leaver in tuple(leavers):
                    leaver.process.send_signal(signal.SIGTERM)
                    assert await asyncio.to_thread(leaver.process.wait, 90) == 0
                    await run.balancer.forget(leaver.name)
                    leavers.append(await _start(f"{leaver.name}2", run))
                # A client that waits 3 s has sent two requests; and the first streams have ended.
                for leaver in leavers[3:]:
                    leaver.process.send_signal(signal.SIGTERM)
        finally:
            for leaver in leavers:
                leaver.process.kill()
                leaver.process.wait(10)
    assert seen.failures == []
    assert seen.answers["steady"] > 100
    assert seen.answers["slow"] > 10
    assert seen.answers["idle"] >= 2 * len(GAPS)
    assert len(seen.streams) >= 3
    assert all(stream.endswith(RECONNECT) for stream in seen.streams)


async def test_no_connection_is_reused_that_an_instance_may_be_closing(tmp_path: Path) -> None:
    """On one machine the race itself is too short to be met; how long what is reused was idle, not.

    Many connections from a moment of many requests, then few requests, then many again.
    """
    async with standins("a") as fleet, running(tmp_path, timing=CALM) as run:
        await run.balancer.admit("a", fleet["a"].address)
        async with client(run.base, limits=httpx.Limits(keepalive_expiry=None)) as http:

            async def burst() -> None:
                answers = await asyncio.gather(*(http.post("/api/v1/cards") for _ in range(24)))
                assert {answer.status_code for answer in answers} == {200}

            fleet["a"].delay_s = 0.1
            await burst()
            await burst()
            fleet["a"].delay_s = 0
            for _ in range(8):
                await asyncio.sleep(FAST.app_idle_s / 7)
                await http.post("/api/v1/cards")
            fleet["a"].delay_s = 0.1
            await burst()
        assert fleet["a"].idled_s
        # Not idle_s: this process may notice a reuse only after idle_s is over.
        assert max(fleet["a"].idled_s) < FAST.app_idle_s
