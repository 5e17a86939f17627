"""Notifications: whoever waits for something looks at once, where Valkey carries the word, and soon
otherwise.

A word is about something, by a name of 16 bytes, or about anything. Nothing depends on it: a word
that is lost costs the time to the next look.
"""

import asyncio
import contextlib
from collections.abc import Generator, Iterable
from typing import Any

from florin.kit.observability import logging

QUEUE = "florin:queue"
LOOK_EVERY_S = 0.25
LOOK_EVERY_WOKEN_S = 1.0  # where a word would come
NAME = 16  # bytes
_GATHER_S = 0.05  # words about something are said together: whoever writes much says little
_LISTEN_AGAIN_S = 1.0

_log = logging.get_logger()


class Notifier:
    """One process's ear and voice. `client` is a client of Valkey, or None."""

    def __init__(self, client: Any | None, channel: str = QUEUE) -> None:
        self._client = client
        self._channel = channel
        self._waiting: dict[asyncio.Event, bytes | None] = {}
        self._unsaid: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False
        self.words = 0  # that were heard so far

    def start(self) -> None:
        if self._client is not None:
            self._begin(self._listen())

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, since: int | None = None) -> None:
        """Return when there may be something to do; at once, when a word came after the number
        `since` of words: it came while the caller looked, who cannot know what he missed.
        """
        if since is not None and since != self.words:
            return
        with self.subscribe() as event:
            await self.wait_for(event)

    @contextlib.contextmanager
    def subscribe(self, name: bytes | None = None) -> Generator[asyncio.Event]:
        """What is set by a word about this, or about anything; without a name, by every word."""
        event = asyncio.Event()
        self._waiting[event] = name
        try:
            yield event
        finally:
            del self._waiting[event]

    async def wait_for(self, event: asyncio.Event) -> None:
        """Wait for an ear; no longer than until it is time to look, word or not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_WOKEN_S if self._listening else LOOK_EVERY_S):
                await event.wait()

    def notify_all(self) -> None:
        """There is something to do, for this process and all others."""
        self.notify_local()
        if self._client is not None:
            self._begin(self._publish(b""))

    def notify(self, names: Iterable[bytes]) -> None:
        """Something happened to these; said soon, together with what else does."""
        first = not self._unsaid
        self._unsaid.update(names)
        if first and self._unsaid:
            self._begin(self._say_soon())

    def notify_local(self, names: bytes = b"") -> None:
        """A word for this process: about these, one after the other, or about anything."""
        self.words += 1
        told = {names[at : at + NAME] for at in range(0, len(names), NAME)}
        for event, name in self._waiting.items():
            if not told or name is None or name in told:
                event.set()

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _say_soon(self) -> None:
        await asyncio.sleep(_GATHER_S)
        names = b"".join(self._unsaid)
        self._unsaid.clear()
        self.notify_local(names)
        if self._client is not None:
            await self._publish(names)

    async def _publish(self, word: bytes) -> None:
        assert self._client is not None
        with contextlib.suppress(Exception):  # they look by themselves soon
            await self._client.publish(self._channel, word)

    async def _listen(self) -> None:
        assert self._client is not None
        while True:
            try:
                async with self._client.pubsub() as ear:
                    await ear.subscribe(self._channel)
                    self._listening = True
                    while True:
                        word = await ear.get_message(ignore_subscribe_messages=True, timeout=5)
                        if word:
                            self.notify_local(word["data"])
            except Exception as error:  # noqa: BLE001 -- whatever the client raises: look instead
                if self._listening:
                    _log.warning(
                        "no wake-ups from valkey", channel=self._channel, error=repr(error)
                    )
                self._listening = False
                await asyncio.sleep(_LISTEN_AGAIN_S)
