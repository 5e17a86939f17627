"""Connections: each source has a limit, and none is kept alive when the balancer is nearly full."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.haproxy import runtime_api
from tests.ops.haproxy.haproxy_process import FAST, Running, running
from tests.ops.haproxy.stub_instances import standins

_REQUEST = b"GET /cards HTTP/1.1\r\nHost: x\r\n\r\n"
Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def crowd() -> AsyncGenerator[list[Open]]:
    """Connections that stay open until the end of the test."""
    made: list[Open] = []
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


async def connect(run: Running, source: str, *, port: int | None = None) -> Open:
    port = port or run.balancer.edge.port
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def answer(connection: Open) -> bytes | None:
    """The head of an answer; None where the connection is closed instead."""
    reader, writer = connection
    async with asyncio.timeout(60):
        try:
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return head


async def closed(connection: Open) -> bool:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            return await connection[0].read() == b""
    return True


async def served(run: Running, source: str, many: list[Open]) -> bool:
    """Return whether one more connection of the source is answered; it stays open."""
    try:
        many.append(await connect(run, source))
    except ConnectionError:
        return False
    return await answer(many[-1]) is not None


async def until_accepted(run: Running, count: int) -> None:
    """Wait until the balancer has accepted so many connections: the kernel did before it."""
    async with asyncio.timeout(60):
        while True:
            info = await runtime_api.send_command(run.balancer.edge.socket, "show info")
            if int(info.split("\nCurrConns: ")[1].split()[0]) >= count:
                return
            await asyncio.sleep(0.01)


async def until_served(run: Running, source: str, many: list[Open]) -> None:
    """Try again until the balancer has noticed the closed connections."""
    async with asyncio.timeout(60):
        while not await served(run, source, many):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_connections_are_limited_per_source(tmp_path: Path) -> None:
    async with standins("a") as fleet, running(tmp_path, per_source=5) as run, crowd() as many:
        await run.balancer.admit("a", fleet["a"].address)
        found = [await served(run, "127.0.0.2", many) for _ in range(8)]
        assert found == [True] * 5 + [False] * 3
        assert await served(run, "127.0.0.3", many)
        assert await answer(many[0]) is not None  # open connections stay open
        many[0][1].close()
        await until_served(run, "127.0.0.2", many)


async def test_trusted_proxies_are_not_counted(tmp_path: Path) -> None:
    trusted = ("127.0.0.7/32",)
    async with (
        standins("a") as fleet,
        running(tmp_path, per_source=2, trusted=trusted) as run,
        crowd() as many,
    ):
        await run.balancer.admit("a", fleet["a"].address)
        assert [await served(run, "127.0.0.7", many) for _ in range(8)] == [True] * 8
        found = [await served(run, "127.0.0.8", many) for _ in range(3)]
        assert found == [True, True, False]


async def test_a_connection_is_not_kept_when_it_is_nearly_full(tmp_path: Path) -> None:
    few = replace(FAST, connections=64)  # the public port has 32 connections; 24 is nearly full
    async with standins("a") as fleet, running(tmp_path, timing=few) as run, crowd() as many:
        await run.balancer.admit("a", fleet["a"].address)
        for number in range(24):
            many.append(await connect(run, f"127.0.1.{number + 1}"))
        await until_accepted(run, 24)
        head = await answer(many[0])
        assert head is not None
        assert b"connection: close" in head.lower()
        assert await closed(many[0])
        for _, writer in many[1:12]:
            writer.transport.abort()
        async with asyncio.timeout(60):
            while True:
                connection = await connect(run, "127.0.2.1")
                many.append(connection)
                kept = await answer(connection)
                if kept is not None and b"connection: close" not in kept.lower():
                    break
        assert await answer(connection) is not None


@pytest.mark.slow
async def test_the_operations_port_answers_while_the_public_one_is_full(tmp_path: Path) -> None:
    few = replace(FAST, connections=64)
    async with running(tmp_path, timing=few) as run, crowd() as many:
        for number in range(80):
            many.append(await connect(run, f"127.0.1.{number + 1}"))
        # Else the operations port may be served before the public one.
        await until_accepted(run, run.balancer.edge.public_connections())
        port = run.balancer.edge.operations_port
        reader, writer = await connect(run, "127.0.0.1", port=port)
        many.append((reader, writer))
        writer.write(b"GET /stats HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(5):
            assert b" 200 " in await reader.readline()
