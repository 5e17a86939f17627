"""Calls: one request as data, the operations that make them, and when an attempt is repeated.

An operation is a line of a table (`operations.py`): the type of its answer, its route, and the
shape of its arguments. As an attribute of a client it is a method: of `Florin` one that returns the
answer, of `AsyncFlorin` one to await.
"""

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload
from urllib.parse import quote

import httpx

from florin_client.errors import ApiError, OutcomeUnknown, Unreachable
from florin_client.nouns import Page

if TYPE_CHECKING:
    from florin_client.client import AsyncFlorin, Florin

P = ParamSpec("P")
T = TypeVar("T")
DELAY_FIRST_S, DELAY_MAX_S = 0.2, 5.0
_NOTHING_HAPPENED = frozenset({"overloaded", "rate_limited"})
# Refusals that come before a key is looked at: they do not say what an earlier attempt did.
_SAYS_NOTHING = frozenset({401, 403, 408, 429})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of a call. `body` is JSON; `content` is a file: its bytes, or its path."""

    path: tuple[str, ...] = ()
    query: dict[str, Any] = field(default_factory=dict[str, Any])
    body: Any = None
    content: bytes | Path | None = None
    media_type: str = "application/json"
    key: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `repeatable`: sent twice, it has the effect of once."""

    operation: str
    method: str
    path: str
    kind: type[T]
    arguments: Arguments
    repeatable: bool

    @property
    def idempotency_key(self) -> str | None:
        return self.arguments.key

    def after(self, last_id: str) -> "Call[T]":
        """The call for the page of a list that follows the object `last_id`."""
        query = self.arguments.query | {"starting_after": last_id}
        return replace(self, arguments=replace(self.arguments, query=query))


class Operation(Generic[P, T]):
    """`route`: such as `POST /cards/{}/block`. `keyed`: it takes an idempotency key; one is made
    where none is given. `repeatable`: it may be sent again without a key, as reads may.
    """

    def __init__(
        self,
        kind: type[T],
        route: str,
        shape: Callable[P, Arguments],
        *,
        keyed: bool = False,
        repeatable: bool = False,
    ) -> None:
        self.kind, self.shape, self.keyed = kind, shape, keyed
        self.method, _, self.path = route.partition(" ")
        # PATCH sets fields, DELETE removes: the second time changes nothing.
        self.repeatable = repeatable or self.method in {"GET", "PATCH", "DELETE"}
        self.name = ""

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The request as data, for `send`. Raises ValueError for an empty id."""
        given = self.shape(*args, **kwargs)
        if not all(given.path):
            raise ValueError(f"{self.name}: an id is empty")
        path = self.path.format(*(quote(each, safe="") for each in given.path))
        if self.keyed and given.key is None:
            given = replace(given, key=uuid.uuid4().hex)
        repeatable = self.repeatable or given.key is not None
        return Call(self.name, self.method, path, self.kind, given, repeatable)

    @overload
    def __get__(self, client: "Florin", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, client: "AsyncFlorin", owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> "Operation[P, T]": ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self.call(*args, **kwargs))

        bound.__name__ = self.name
        return bound


@dataclass(frozen=True, slots=True)
class Listing(Generic[P, T]):
    """A list: called, it returns a page; `all` goes through all pages, newest first."""

    client: "Florin"
    make: Callable[P, Call[Page[T]]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Page[T]:
        return self.client.send(self.make(*args, **kwargs))

    def all(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call = self.make(*args, **kwargs)
        while True:
            page = self.client.send(call)
            yield from page.data
            if not page.has_more:
                return
            call = call.after(cast("Any", page.data[-1]).id)


@dataclass(frozen=True, slots=True)
class AsyncListing(Generic[P, T]):
    """As Listing, to await and for `async for`."""

    client: "AsyncFlorin"
    make: Callable[P, Call[Page[T]]]

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Page[T]:
        return await self.client.send(self.make(*args, **kwargs))

    async def all(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        call = self.make(*args, **kwargs)
        while True:
            page = await self.client.send(call)
            for each in page.data:
                yield each
            if not page.has_more:
                return
            call = call.after(cast("Any", page.data[-1]).id)


class ListOperation(Generic[P, T]):
    """An operation whose answer is a page of a list."""

    def __init__(self, kind: type[T], route: str, shape: Callable[P, Arguments]) -> None:
        self.operation: Operation[P, Page[T]] = Operation(Page[kind], route, shape)

    def __set_name__(self, _owner: type, name: str) -> None:
        self.operation.name = name

    @overload
    def __get__(self, client: "Florin", owner: type) -> Listing[P, T]: ...
    @overload
    def __get__(self, client: "AsyncFlorin", owner: type) -> AsyncListing[P, T]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Operation[P, Page[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self.operation
        kind: Any = Listing if client.is_sync else AsyncListing
        return kind(client, self.operation.call)


@dataclass(frozen=True, slots=True)
class Download(Generic[P]):
    """A file: called, it returns its bytes; `save` writes it to disk while it arrives."""

    client: "Florin"
    make: Callable[P, Call[bytes]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        return self.client.send(self.make(*args, **kwargs))

    def save(self, path: Path, /, *args: P.args, **kwargs: P.kwargs) -> Path:
        """Write to `path`, which is there only once the file is whole. Raises FileExistsError."""
        return self.client.save(self.make(*args, **kwargs), path)


@dataclass(frozen=True, slots=True)
class AsyncDownload(Generic[P]):
    """As Download, to await."""

    client: "AsyncFlorin"
    make: Callable[P, Call[bytes]]

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        return await self.client.send(self.make(*args, **kwargs))

    async def save(self, path: Path, /, *args: P.args, **kwargs: P.kwargs) -> Path:
        return await self.client.save(self.make(*args, **kwargs), path)


class FileOperation(Generic[P]):
    """An operation whose answer is a file."""

    def __init__(
        self, route: str, shape: Callable[P, Arguments], *, repeatable: bool = False
    ) -> None:
        self.operation: Operation[P, bytes] = Operation(bytes, route, shape, repeatable=repeatable)

    def __set_name__(self, _owner: type, name: str) -> None:
        self.operation.name = name

    @overload
    def __get__(self, client: "Florin", owner: type) -> Download[P]: ...
    @overload
    def __get__(self, client: "AsyncFlorin", owner: type) -> AsyncDownload[P]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Operation[P, bytes]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self.operation
        kind: Any = Download if client.is_sync else AsyncDownload
        return kind(client, self.operation.call)


class Attempts:
    """Decides after each failed attempt of a call whether and when the next one follows."""

    def __init__(self, call: Call[Any], budget_s: float) -> None:
        self._call = call
        self._deadline = time.monotonic() + budget_s
        self._count = 0
        self._unknown = False  # an earlier attempt may have had its effect

    def delay_after(self, failure: Exception) -> float:
        """Seconds until the next attempt. Raises the error of the call if there is none."""
        again, unknown, definite = self._judge(failure)
        self._unknown = self._unknown or unknown
        ceiling = min(DELAY_MAX_S, DELAY_FIRST_S * 2**self._count)
        self._count += 1
        delay = random.uniform(0, ceiling)  # noqa: S311 -- spreads clients, hides nothing
        if isinstance(failure, ApiError) and failure.retry_after_s is not None:
            delay += failure.retry_after_s
        if again and time.monotonic() + delay < self._deadline:
            return delay
        if self._unknown and not definite and self._call.method != "GET":
            raise OutcomeUnknown(self._call) from failure
        if isinstance(failure, ApiError):
            raise failure
        raise Unreachable(f"{self._call.operation}: no answer: {failure}") from failure

    def _judge(self, failure: Exception) -> tuple[bool, bool, bool]:
        """Whether to try again, whether the effect is unknown, whether the answer is definite."""
        if not isinstance(failure, ApiError):
            unknown = not isinstance(failure, _NOT_SENT)
            return self._call.repeatable or not unknown, unknown, False
        if failure.code in _NOTHING_HAPPENED:
            return True, False, False
        if failure.status >= _SERVER_ERROR:
            lost = failure.status in {502, 503, 504}
            return lost and self._call.repeatable, True, False
        return False, False, failure.status not in _SAYS_NOTHING
