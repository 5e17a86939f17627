"""Draining: an instance announces it, still accepts requests, and finishes those in flight."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florin.kit.http.drain import QUIET_S, Drain
from florin.kit.http.sse import RECONNECT
from tests.support.instance import NO_TLS
from tests.support.ports import free_port

SCRIPT = Path(__file__).parents[1] / "server" / "draining_instance.py"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(arrivals=st.lists(st.floats(0, 3), max_size=20))
def test_a_drain_ends_after_a_quiet_period_or_at_its_limit(
    arrivals: list[float],
) -> None:
    clock = Clock()
    drain = Drain(least_s=2, most_s=6, clock=clock)
    assert not drain.is_over()
    drain.begin()
    last = 0.0
    for pause in [*arrivals, 7.0]:
        until = clock.now + pause
        while clock.now < until:
            clock.now += 0.1
            since = clock.now - 100
            if drain.is_over():
                assert since >= 2
                assert since >= 6 or since - last >= QUIET_S
                return
            assert since < 6.11
            assert since < 2 or since - last < QUIET_S + 0.11
        drain.record_request("/api/v1/cards")
        last = clock.now - 100
    pytest.fail("the drain never ended")


def test_probes_do_not_keep_it_open() -> None:
    clock = Clock()
    drain = Drain(least_s=2, most_s=60, clock=clock)
    drain.begin()
    clock.now += 2
    for path in ("/health/ready", "/health/live", "/health"):
        drain.record_request(path)
    assert drain.is_over()


@contextmanager
def draining_process(**settings: str) -> Generator[tuple[subprocess.Popen[Any], str]]:
    """A process that a signal will drain, and its base URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-P", str(SCRIPT), str(port)],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
    )
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{base}/health/ready").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
        yield process, base
    finally:
        process.kill()
        process.wait(60)


async def _is_draining(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await http.get("/health/ready")).status_code != 404:  # noqa: ASYNC110 -- a process
            await asyncio.sleep(0.02)


async def _is_under_way(http: httpx.AsyncClient) -> None:
    """Wait until a slow request has arrived."""
    async with asyncio.timeout(60):
        while (await http.get("/health/slow")).content == b"0":  # noqa: ASYNC110 -- a process
            await asyncio.sleep(0.02)


async def test_a_draining_instance_serves_and_finishes_requests() -> None:
    with draining_process(FLORIN_DRAIN_S="2.5", FLORIN_FINISH_S="60") as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=60, verify=NO_TLS) as http:
            assert "connection" not in (await http.get("/")).headers
            slow = asyncio.ensure_future(http.get("/slow?3"))
            events = asyncio.ensure_future(http.get("/events"))
            await _is_under_way(http)
            process.send_signal(signal.SIGTERM)
            await _is_draining(http)
            # On new and old connections; each answer asks the client to connect elsewhere.
            async with httpx.AsyncClient(base_url=base, timeout=60, verify=NO_TLS) as late:
                for _ in range(5):
                    answer = await late.get("/")
                    assert answer.status_code == 200
                    assert answer.headers["connection"] == "close"
            assert (await events).content.endswith(RECONNECT)
            assert (await slow).content == b"slow"
        assert await asyncio.to_thread(process.wait, 60) == 0


async def test_a_client_is_served_until_it_stops_or_the_drain_ends() -> None:
    with draining_process(FLORIN_DRAIN_S="0.6", FLORIN_DRAIN_MAX_S="2.5") as (process, base):
        process.send_signal(signal.SIGTERM)
        last, longest, served = time.monotonic(), 0.0, 0
        begun = last
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=base, timeout=60, verify=NO_TLS) as http,
        ):
            while True:
                try:
                    await http.get("/", headers={"connection": "close"})
                    served += 1
                except httpx.TransportError:
                    break
                finally:
                    now = time.monotonic()
                    last, longest = now, max(longest, now - last)
                await asyncio.sleep(0.05)
        # On a busy machine the client may pause for so long that the drain counts it as stopped.
        assert last - begun > 2 or longest > QUIET_S / 2, served
        assert await asyncio.to_thread(process.wait, 60) == 0


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]], ids=["again", "a human"]
)
async def test_a_hurried_drain_closes_at_once_and_finishes_requests(
    signals: list[signal.Signals],
) -> None:
    with draining_process(FLORIN_DRAIN_S="300", FLORIN_DRAIN_MAX_S="300") as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=60, verify=NO_TLS) as http:
            slow = asyncio.ensure_future(http.get("/slow?1"))
            await _is_under_way(http)
            *before, last = signals
            for each in before:
                process.send_signal(each)
                await _is_draining(http)  # two signals at the same time are delivered as one
            process.send_signal(last)
            assert (await slow).content == b"slow"
        assert await asyncio.to_thread(process.wait, 60) == 0


async def test_a_request_that_outlasts_the_drain_is_cancelled() -> None:
    with draining_process(FLORIN_DRAIN_S="0", FLORIN_FINISH_S="0.5") as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=60, verify=NO_TLS) as http:
            endless = asyncio.ensure_future(http.get("/slow?600"))
            await _is_under_way(http)
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.TransportError):
                assert (await endless).status_code == 500
        assert await asyncio.to_thread(process.wait, 60) == 0
