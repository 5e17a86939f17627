"""Notifications: wake waiting tasks in all processes at once through Valkey's pub/sub.

A notification carries names of 16 bytes, or none: then it is for every subscriber. Nothing depends
on delivery: subscribers also poll, so that a lost notification costs the time to the next poll.
"""

import asyncio
import contextlib
from collections.abc import Generator, Iterable
from typing import Any

from florin.kit.observability import logging

QUEUE = "florin:queue"
LOOK_EVERY_S = 0.25
LOOK_EVERY_WOKEN_S = 1.0  # while notifications arrive
NAME = 16  # bytes
_GATHER_S = 0.05  # names are collected for so long and published together
_LISTEN_AGAIN_S = 1.0

_log = logging.get_logger()


class Notifier:
    """Publishes and receives the notifications of a process. `client`: a Valkey client, or None."""

    def __init__(self, client: Any | None, channel: str = QUEUE) -> None:
        self._client = client
        self._channel = channel
        self._waiting: dict[asyncio.Event, bytes | None] = {}
        self._unpublished: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False
        self.words = 0  # notifications received so far

    def start(self) -> None:
        if self._client is not None:
            self._begin(self._listen())

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, since: int | None = None) -> None:
        """Return when there may be something to do; at once if a notification came after `since`,
        the value of `words` before the caller's last poll: the poll may have missed it.
        """
        if since is not None and since != self.words:
            return
        with self.subscribe() as event:
            await self.wait_for(event)

    @contextlib.contextmanager
    def subscribe(self, name: bytes | None = None) -> Generator[asyncio.Event]:
        """An event that is set by a notification for `name` or for all; without a name, by every
        notification.
        """
        event = asyncio.Event()
        self._waiting[event] = name
        try:
            yield event
        finally:
            del self._waiting[event]

    async def wait_for(self, event: asyncio.Event) -> None:
        """Wait for a subscription's event, but no longer than until the next poll is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_WOKEN_S if self._listening else LOOK_EVERY_S):
                await event.wait()

    def notify_all(self) -> None:
        """Notify every subscriber, of this process and all others."""
        self.notify_local()
        if self._client is not None:
            self._begin(self._publish(b""))

    def notify(self, names: Iterable[bytes]) -> None:
        """Notify the subscribers of `names` in all processes, within _GATHER_S, batched."""
        first = not self._unpublished
        self._unpublished.update(names)
        if first and self._unpublished:
            self._begin(self._publish_soon())

    def notify_local(self, names: bytes = b"") -> None:
        """Notify this process's subscribers of the concatenated names; of none: all of them."""
        self.words += 1
        notified = {names[at : at + NAME] for at in range(0, len(names), NAME)}
        for event, name in self._waiting.items():
            if not notified or name is None or name in notified:
                event.set()

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_soon(self) -> None:
        await asyncio.sleep(_GATHER_S)
        names = b"".join(self._unpublished)
        self._unpublished.clear()
        self.notify_local(names)
        if self._client is not None:
            await self._publish(names)

    async def _publish(self, names: bytes) -> None:
        assert self._client is not None
        with contextlib.suppress(Exception):  # subscribers poll soon anyway
            await self._client.publish(self._channel, names)

    async def _listen(self) -> None:
        assert self._client is not None
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(self._channel)
                    self._listening = True
                    while True:
                        message = await pubsub.get_message(
                            ignore_subscribe_messages=True, timeout=5
                        )
                        if message:
                            self.notify_local(message["data"])
            except Exception as error:  # noqa: BLE001 -- on any error of the client: poll instead
                if self._listening:
                    _log.warning(
                        "no wake-ups from valkey", channel=self._channel, error=repr(error)
                    )
                self._listening = False
                await asyncio.sleep(_LISTEN_AGAIN_S)
