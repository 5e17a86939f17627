"""Client departure: what a request waits for only to answer it ends when its client is gone.

The server knows when the connection of a client closes; the request that runs then may be waiting
for a read of the database. That read is cancelled. Nothing else is: whatever may change something
goes on to its end, and its outcome is found by whoever repeats the request with its key.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from florin.kit.errors import ClientGone


class ClientConnection:
    """Whether the client of a connection is gone, and the tasks that end with it."""

    def __init__(self) -> None:
        self.gone = False
        self._waiting: set[asyncio.Task[object]] = set()
        self._cancelled: set[asyncio.Task[object]] = set()

    def lost(self) -> None:
        self.gone = True
        for task in self._waiting:
            self._cancelled.add(task)
            task.cancel()

    @contextmanager
    def ends_task(self) -> Generator[None]:
        """Cancel the task that is in here when the client goes. Raises ClientGone."""
        if self.gone:
            raise ClientGone
        task = asyncio.current_task()
        if task is None or task in self._waiting:
            yield
            return
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in self._cancelled and task.uncancel() == 0:
                raise ClientGone from None
            raise  # somebody else ends the task
        finally:
            self._waiting.discard(task)
            self._cancelled.discard(task)


_connection: ContextVar[ClientConnection | None] = ContextVar("client connection", default=None)


def during(connection: ClientConnection | None) -> None:
    """The requests of the current task come from here."""
    _connection.set(connection)


@contextmanager
def ends_with_client() -> Generator[None]:
    """For what is only read. Raises ClientGone."""
    connection = _connection.get()
    if connection is None:
        yield
        return
    with connection.ends_task():
        yield
