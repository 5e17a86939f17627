"""Draining instance: one without a database, for the tests: `draining_instance.py PORT`.

It answers /slow?SECONDS after that time, /health/slow with the number of those in progress,
/events with a stream of events, and everything else at once; readiness is that of a real instance.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import unquote

from florin.kit.http import sse
from florin.kit.http.drain import Drain
from florin.kit.http.middleware import RequestMiddleware, send_response
from florin.kit.observability import logging
from florin.kit.server.server import serve_app
from florin.kit.settings import read_settings
from tests.support.instance import SECRETS


class App:
    def __init__(self, drain: Drain) -> None:
        self.drain = drain
        self.slow = 0  # requests in progress

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        match scope["path"]:
            case "/health/ready":
                await send_response(send, 404 if self.drain.draining else 200, b"{}")
            case "/health/slow":
                await send_response(send, 200, str(self.slow).encode())
            case "/slow":
                self.slow += 1
                try:
                    await asyncio.sleep(float(unquote(scope["query_string"].decode())))
                finally:
                    self.slow -= 1
                await send_response(send, 200, b"slow")
            case "/events":
                await sse.send_events(_events(), self.drain, scope, receive, send)
            case _:
                await send_response(send, 200, str(id(self)).encode())


async def _events() -> AsyncGenerator[bytes]:
    number = 0
    while True:
        number += 1
        yield f"data: {number}\n\n".encode()
        await asyncio.sleep(0.05)


def main(port: int) -> int:
    logging.configure_logging(level="error", instance="draining")
    environ = {"FLORIN_ENV": "test", "DATABASE_URL": "postgresql://none@127.0.0.1:1/none"}
    settings = read_settings({**os.environ, **environ, **SECRETS, "FLORIN_PORT": str(port)})
    drain = Drain(least_s=settings.drain_s, most_s=settings.drain_max_s)
    edge = RequestMiddleware(App(drain), {}, lambda _error, _method: None, drain, instance="test")
    return serve_app(edge, settings, {})


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
