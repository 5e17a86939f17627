"""Client departure: a read is cancelled when the client that requested it disconnects.

The server learns when a client's connection closes; the request that runs then may be waiting for
a database read. Only such a read is cancelled. An operation that may change something runs to its
end; a client that repeats it with the same idempotency key gets its outcome.

An operation that has not begun is not begun for a client that is gone. The balancer may have sent
the request to another instance since, and its client may have an answer: a refusal there leaves the
key unused, so that a late second execution could succeed and contradict that answer.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from florin.kit.errors import ClientGone


class ClientConnection:
    """Whether the client of a connection has disconnected, and the tasks to cancel then."""

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
        """Cancel the current task when the client disconnects. Raises ClientGone."""
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
            raise  # the task is cancelled for another reason
        finally:
            self._waiting.discard(task)
            self._cancelled.discard(task)


_connection: ContextVar[ClientConnection | None] = ContextVar("client connection", default=None)


def during(connection: ClientConnection | None) -> None:
    """Set the connection from which the requests of the current task come."""
    _connection.set(connection)


def current() -> ClientConnection | None:
    """The connection from which the current request came; None outside of requests."""
    return _connection.get()


async def require_client(method: str) -> None:
    """Refuse to begin an operation for a client that is gone; not GET. Raises ClientGone.

    The end of a connection that arrived together with the request (the process was frozen) is read
    from the socket in the second turn of the event loop after the request.
    """
    connection = _connection.get()
    if connection is not None and method != "GET":
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if connection.gone:
            raise ClientGone


@contextmanager
def ends_with_client() -> Generator[None]:
    """Cancel a read when the client disconnects; for reads only. Raises ClientGone."""
    connection = _connection.get()
    if connection is None:
        yield
        return
    with connection.ends_task():
        yield
