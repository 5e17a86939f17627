"""Held connections: open connections of clients do not keep a fleet from stopping in order."""

import asyncio
import socket
import time
from contextlib import ExitStack

import pytest

from florin.ops.control.socket import socket_path
from florin.ops.fleet import secrets, welcome
from florin.ops.fleet.timing import DEFAULT
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import open_session
from florin.ops.system import http_probe, processes
from tests.ops.conftest import TestFleet

HALF_HEAD = b"GET /api/v1/cards HTTP/1.1\r\nHost: florin\r\nAuthor"
HALF_BODY = (
    b"POST /api/v1/redemptions HTTP/1.1\r\nHost: florin\r\nContent-Type: application/json\r\n"
    b'Idempotency-Key: held\r\nContent-Length: 100\r\n\r\n{"card": '
)
IDLE = b"GET /health/live HTTP/1.1\r\nHost: florin\r\n\r\n"


def held(address: str, words: bytes) -> socket.socket:
    """A connection on which these bytes were sent, and nothing more."""
    made = socket.create_connection(http_probe.split_address(address), timeout=60)
    made.sendall(words)
    if words == IDLE:
        assert made.recv(65_536).startswith(b"HTTP/1.1 200")
    return made


@pytest.mark.slow
async def test_a_fleet_stops_in_order_with_held_connections(fleet: TestFleet) -> None:
    fleet.workers, fleet.whole = "0", True
    child = await asyncio.to_thread(fleet.up)
    running = fleet.processes()
    demo = welcome.read_demo(fleet.home)
    assert demo is not None
    stream = (
        f"GET /api/v1/events/stream HTTP/1.1\r\nHost: florin\r\n"
        f"Authorization: Bearer {demo.api_key}\r\n\r\n"
    ).encode()
    balancer = f"127.0.0.1:{fleet.port}"
    instance = fleet.part("api-1").address or ""
    database = fleet.part("postgres-1").address or ""
    url = postgres.postgres_url(database, postgres.OWNER, secrets.read_secrets(fleet.home))
    with ExitStack() as stack:
        for address in (balancer, instance):
            for words in (b"", IDLE, HALF_HEAD, HALF_BODY, stream):
                stack.enter_context(held(address, words))
        order = stack.enter_context(socket.socket(socket.AF_UNIX))
        order.connect(str(socket_path(fleet.home)))
        async with open_session(url) as connection:
            await connection.execute("begin; lock table florin.card")
            begun = time.monotonic()
            output = await asyncio.to_thread(fleet.end, child)
            took_s = time.monotonic() - begun
            connection.terminate()
    assert child.returncode == 0, output
    assert not any(processes.is_alive(process) for process in running.values())
    for name in ("api-1", "api-2"):
        log = fleet.home.log(name).read_text("utf-8")
        assert '"stopped"' in log, f"{name} was killed: {output}"
    assert "database system is shut down" in fleet.home.log("postgres-1").read_text("utf-8")
    # All instances stop together, then the engines: less time than two instances in turn.
    assert took_s < DEFAULT.stop_grace_s + 40, output
