"""Operations: the listener for operators, separate from the public one.

It serves metrics, health and the log level without authentication, so it listens on loopback
unless FLORIN_OPERATIONS_HOST is set. It runs in the event loop of the process.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import uvicorn
from prometheus_client.exposition import choose_encoder

from florin.kit.errors import Refusal
from florin.kit.http import paths
from florin.kit.http.asgi import App, Receive, Scope, Send
from florin.kit.http.middleware import header, read_body
from florin.kit.observability import logging, metrics
from florin.kit.server.uvicorn_config import uvicorn_config
from florin.kit.settings import Settings

_STOP_WITHIN_S = 1
_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of an endpoint."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class MeasuredMetrics:
    """The response of /metrics: the registry is up to date, to be written as the scraper asks."""


Endpoint = Callable[[], Awaitable[Answer | MeasuredMetrics]]

LOG_LEVEL = "/log-level"
_LEVEL_MAX = 256  # bytes of its body


class LevelChange(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PUT /log-level."""

    level: logging.LogLevel


def document(status: int, content: object) -> Answer:
    return Answer(status, msgspec.json.encode(content))


async def render_metrics(accept: str) -> Answer:
    """Write the metrics in Prometheus' text format, or in OpenMetrics if `accept` names it: only
    that format has exemplars.
    """
    encode, kind = choose_encoder(accept)
    # In a thread: it takes milliseconds, which requests would wait for.
    return Answer(200, await asyncio.to_thread(encode, metrics.registry), kind)


async def alive() -> Answer:
    """GET /health/live: the event loop runs."""
    return document(200, {"status": "alive"})


async def log_level() -> Answer:
    """GET /log-level: the lowest level that this process logs."""
    return document(200, {"level": logging.current_level()})


async def change_log_level(receive: Receive) -> Answer:
    """PUT /log-level: change it, until the process ends."""
    try:
        body = await read_body(receive, most=_LEVEL_MAX)
        level = msgspec.json.decode(body, type=LevelChange).level
    except (Refusal, msgspec.MsgspecError):
        example = {"level": "debug"}
        detail = f"send {msgspec.json.encode(example).decode()}; one of {', '.join(logging.LEVELS)}"
        return document(400, {"status": "invalid body", "detail": detail})
    before = logging.current_level()
    logging.set_level(level)
    return document(200, {"level": level, "before": before})


class PortUnavailable(Exception):
    """The listener cannot bind its port."""


class OperationsListener:
    """Binds its port when it is created; serves between `start` and `stop`."""

    def __init__(self, host: str, port: int, endpoints: Mapping[str, Endpoint]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise PortUnavailable(
                f"FLORIN_OPERATIONS_PORT: cannot listen on port {port} of {host}: {error.strerror}"
            ) from None
        config = uvicorn_config(
            application(endpoints),
            loop="none",
            lifespan="off",
            timeout_graceful_shutdown=_STOP_WITHIN_S,
        )
        self._server = InnerServer(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Finish the requests in flight, then close. Stops last: draining is monitored, too."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()


def listener(settings: Settings, endpoints: Mapping[str, Endpoint]) -> OperationsListener | None:
    """Return the listener of a process; None if no port is set. Raises PortUnavailable."""
    if settings.operations_port is None:
        return None
    return OperationsListener(settings.operations_host, settings.operations_port, endpoints)


def application(endpoints: Mapping[str, Endpoint]) -> App:
    """Return the ASGI application: GET and HEAD of these paths and of the log level, PUT of the
    log level, 404 for all others.
    """
    endpoints = {**endpoints, LOG_LEVEL: log_level}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = paths.normalized(scope["raw_path"])
        endpoint = endpoints.get(path)
        if endpoint is None:
            response = document(404, {"status": "not found", "paths": sorted(endpoints)})
        elif (scope["method"], path) == ("PUT", LOG_LEVEL):
            response = await change_log_level(receive)
        elif scope["method"] not in {"GET", "HEAD"}:
            response = document(405, {"status": "only GET and HEAD are answered here"})
        else:
            response = await endpoint()
        if isinstance(response, MeasuredMetrics):
            response = await render_metrics(header(scope, b"accept") or "")
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": response.body})

    return answer


class InnerServer(uvicorn.Server):
    """A server inside a process that has its own signal handlers."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
