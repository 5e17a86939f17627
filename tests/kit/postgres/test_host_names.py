"""Host names: a name that no server answers for does not keep a pool from its other hosts."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from florin.kit.postgres import pool
from florin.kit.postgres.pool import Hosts
from tests.conftest import Urls

LOST = "lost.invalid"
THREADS = 2


class NameServer:
    """It does not answer for LOST until it is released, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self.released = threading.Event()
        self._real = socket.getaddrinfo

    def look_up(self, host: Any, *words: Any, **options: Any) -> Any:
        self.asked[str(host)] += 1
        if host == LOST:
            self.released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real(host, *words, **options)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[NameServer]:
    """The name server of an event loop that has two threads for look-ups."""
    loop, made = asyncio.get_running_loop(), NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    monkeypatch.setattr(pool, "CONNECT_WITHIN_S", 0.5)
    before: Any = getattr(loop, "_default_executor", None)
    threads = ThreadPoolExecutor(THREADS)
    loop.set_default_executor(threads)
    try:
        yield made
    finally:
        made.released.set()
        loop.set_default_executor(before or ThreadPoolExecutor())
        threads.shutdown()


def url(urls: Urls) -> str:
    """The database by name, behind a host whose name is not answered for."""
    user, at, rest = urls.app.partition("@")
    host, colon, port = rest.partition(":")
    assert host == "127.0.0.1", host
    return f"{user}{at}{LOST},localhost{colon}{port}"


async def test_connections_reach_the_next_host_while_a_name_is_not_answered_for(
    urls: Urls, names: NameServer
) -> None:
    hosts = [Hosts(url(urls)) for _ in range(20)]
    began = time.monotonic()
    connections = await asyncio.gather(*(each.connect() for each in hosts))
    assert time.monotonic() - began < 10, "none waits for the name server"
    for each in connections:
        await each.close()
    assert names.asked[LOST] == 1, "one look-up, for all of them"


async def test_a_name_that_is_answered_for_again_is_looked_up_again(
    urls: Urls, names: NameServer
) -> None:
    alone = url(urls).replace(",localhost", "")
    with pytest.raises(ConnectionError):
        await Hosts(alone).connect()
    names.released.set()
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await Hosts(alone).connect()
    assert 2 <= names.asked[LOST] <= 3
