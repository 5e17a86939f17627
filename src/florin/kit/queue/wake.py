"""Wake: whoever waits for jobs looks at once, where Valkey carries the word, and soon otherwise.

Nothing depends on it: a word that is lost costs the time to the next look.
"""

import asyncio
import contextlib
from typing import Any

from florin.kit import log

CHANNEL = "florin:queue"
LOOK_EVERY_S = 0.25
LOOK_EVERY_WOKEN_S = 1.0  # where a word would come
_LISTEN_AGAIN_S = 1.0

_log = log.get()


class Wake:
    """One process's ear and voice. `client` is a client of Valkey, or None."""

    def __init__(self, client: Any | None) -> None:
        self._client = client
        self._waiting: set[asyncio.Event] = set()
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
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(LOOK_EVERY_WOKEN_S if self._listening else LOOK_EVERY_S):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(event)

    def everybody(self) -> None:
        """There is something to do, for this process and all others."""
        self.here()
        if self._client is not None:
            self._begin(self._publish())

    def here(self) -> None:
        self.words += 1
        for event in self._waiting:
            event.set()

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self) -> None:
        assert self._client is not None
        with contextlib.suppress(Exception):  # they look by themselves soon
            await self._client.publish(CHANNEL, b"")

    async def _listen(self) -> None:
        assert self._client is not None
        while True:
            try:
                async with self._client.pubsub() as ear:
                    await ear.subscribe(CHANNEL)
                    self._listening = True
                    while True:
                        if await ear.get_message(ignore_subscribe_messages=True, timeout=5):
                            self.here()
            except Exception as error:  # noqa: BLE001 -- whatever the client raises: look instead
                if self._listening:
                    _log.warning("no wake-ups from valkey", error=repr(error))
                self._listening = False
                await asyncio.sleep(_LISTEN_AGAIN_S)
