"""Server: the HTTP server of a process, until it is drained."""

import gc
import signal
import socket
from collections.abc import Mapping
from types import FrameType

import uvicorn

from florin.kit.http.drain import Drain
from florin.kit.http.headers import allow_cross_origin
from florin.kit.http.middleware import RequestMiddleware
from florin.kit.observability import logging
from florin.kit.server import operations
from florin.kit.server.uvicorn_config import uvicorn_config
from florin.kit.settings import Settings

_log = logging.get_logger()


class DrainingServer(uvicorn.Server):
    """Uvicorn that drains before it closes its listener.

    SIGTERM drains; a second one closes the listener at once. SIGINT, from a terminal, closes the
    listener at once; a second one also abandons the requests in flight.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        listener: operations.OperationsListener | None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._listener is not None:
            self._listener.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._listener is not None:
            await self._listener.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        # Not passed to uvicorn, which raises the signal again at the end: an orderly stop is no
        # failure.
        if self._drain.draining or sig == signal.SIGINT or not self.started:
            self.force_exit = self.force_exit or (self._drain.draining and sig == signal.SIGINT)
            self._drain.shorten()
            self.should_exit = self.should_exit or not self.started
        else:
            self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        # Ten times per second; True ends the loop, and uvicorn closes the listener.
        return await super().on_tick(counter) or self._drain.is_over()


def serve_app(
    edge: RequestMiddleware, settings: Settings, endpoints: Mapping[str, operations.Endpoint]
) -> int:
    """Serve until drained; return the exit code. `endpoints` are those of the operations port."""
    try:
        listener = operations.listener(settings, endpoints)
    except operations.PortUnavailable as error:
        _log.error("not started", detail=str(error))
        return 1
    origins = settings.cors_origins
    config = uvicorn_config(
        allow_cross_origin(edge, origins) if origins else edge,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        lifespan="on",
        date_header=True,
        timeout_keep_alive=settings.idle_s,
        timeout_graceful_shutdown=settings.finish_s,
        backlog=2048,
    )
    server = DrainingServer(config, edge.drain, listener)
    _log.info("starting", host=settings.host, port=settings.port, release=settings.release)
    # Exclude the objects of startup from garbage collection: scanning them again and again would
    # pause the slowest requests.
    gc.collect()
    gc.freeze()
    server.run()
    _log.info("stopped")
    return 0 if server.started else 1
