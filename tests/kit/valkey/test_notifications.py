"""Notifications: a message through Valkey wakes the waiters; without Valkey each waiter polls."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from florin.kit.valkey import client as valkey
from florin.kit.valkey import notifications
from florin.kit.valkey.notifications import Notifier
from tests.support import valkey_topologies

NEVER_S = 3600.0
WITHIN_S = 30


@pytest.fixture
async def server() -> AsyncGenerator[valkey_topologies.Valkeys]:
    async with valkey_topologies.single() as made:
        yield made


async def connected(one: Notifier, other: Notifier) -> None:
    """Wait until a message of one wakes the other, which may still be connecting."""
    waiting = asyncio.ensure_future(other.wait())
    async with asyncio.timeout(WITHIN_S):
        while not waiting.done():
            one.notify_all()
            await asyncio.sleep(0.05)


async def test_notifications_resume_after_a_lost_connection(
    server: valkey_topologies.Valkeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY_S", "LOOK_EVERY_WOKEN_S"):
        monkeypatch.setattr(notifications, name, NEVER_S)
    clients = [valkey.connect_valkey(server.url) for _ in range(2)]
    one, other = (Notifier(client) for client in clients)
    other.start()
    try:
        await connected(one, other)
        (node,) = server.nodes
        node.kill()
        monkeypatch.setattr(notifications, "LOOK_EVERY_S", 0.05)
        async with asyncio.timeout(WITHIN_S):
            # No message arrives now. Once that is detected, every waiting task polls.
            monkeypatch.setattr(notifications, "LOOK_EVERY_WOKEN_S", 0.05)
            for _ in range(3):
                await other.wait()
        for name in ("LOOK_EVERY_S", "LOOK_EVERY_WOKEN_S"):
            monkeypatch.setattr(notifications, name, NEVER_S)
        await asyncio.to_thread(server.start, "", port=node.port)
        await connected(one, other)
    finally:
        await one.stop()
        await other.stop()
        for client in clients:
            await client.aclose()


async def test_a_notification_during_a_poll_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifications, "LOOK_EVERY_S", NEVER_S)
    alone = Notifier(None)
    words = alone.words
    alone.notify_local()  # no task waits yet
    async with asyncio.timeout(WITHIN_S):
        await alone.wait(words)
    waiting = asyncio.ensure_future(alone.wait(alone.words))
    await asyncio.sleep(0)
    assert not waiting.done()
    alone.notify_local()
    async with asyncio.timeout(WITHIN_S):
        await waiting


async def test_a_local_notification_wakes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "LOOK_EVERY_WOKEN_S"):
        monkeypatch.setattr(notifications, name, NEVER_S)
    alone = Notifier(None)
    waiting = [asyncio.ensure_future(alone.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    alone.notify_all()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*waiting)
