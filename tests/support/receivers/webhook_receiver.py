"""Webhook receiver: an HTTP server that verifies each message as a merchant's server would."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.support.stream_server import stop_listening

Headers = dict[str, str]
Answer = bytes | None  # None: hang until the client gives up

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def status(code: int, body: str = "", **headers: str) -> bytes:
    """An answer with that status."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    text = body.encode()
    return f"HTTP/1.1 {code} X\r\n{lines}content-length: {len(text)}\r\n\r\n".encode() + text


@dataclass(slots=True)
class WebhookReceiver:
    """Received messages by path: `messages` those that it accepted, in the order of arrival."""

    port: int = 0
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    answers: dict[str, Callable[[], Answer]] = field(
        default_factory=dict[str, Callable[[], Answer]]
    )
    messages: defaultdict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    delays_s: list[float] = field(default_factory=list[float])  # since the event
    headers: defaultdict[str, list[Headers]] = field(default_factory=lambda: defaultdict(list))
    tries: Counter[str] = field(default_factory=Counter[str])
    connections: int = 0
    invalid: list[str] = field(default_factory=list[str])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def ids(self, path: str = "/hook") -> list[str]:
        return [each["id"] for each in self.messages[path]]

    def failing(self, path: str, share: float, seed: int = 1) -> None:
        """Answer this share of the messages of a path with 503, the others with 200."""
        draw = random.Random(seed)
        self.answers[path] = lambda: status(503) if draw.random() < share else OK

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        path = first.split(" ")[1]
        headers = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = self.answers.get(path, lambda: OK)()
        self.tries[headers.get("webhook-id", "")] += 1
        self.headers[path].append(headers)
        if answer is None:
            await reader.read()
            return False
        if answer.startswith(b"HTTP/1.1 2"):
            self._accept(path, headers, body)
        writer.write(answer)
        await writer.drain()
        return True

    def _accept(self, path: str, headers: Headers, body: bytes) -> None:
        if path in self.secrets:
            try:
                Webhook(self.secrets[path]).verify(body, headers)
            except Exception as error:  # noqa: BLE001 -- counted, and the test fails
                self.invalid.append(f"{path}: {error!r}")
                return
        message = json.loads(body)
        if "id" not in message or "created_at" not in message:
            self.invalid.append(f"{path}: no event: {body[:100]!r}")
            return
        if message["id"] != headers["webhook-id"]:
            self.invalid.append(f"{path}: {headers['webhook-id']}")
        self.messages[path].append(message)
        self.delays_s.append(
            time.time() - datetime.fromisoformat(message["created_at"]).timestamp()
        )

    async def wait(self, condition: Callable[[], bool], within_s: float = 30) -> None:
        """Wait until a condition holds. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 -- the condition is any
                await asyncio.sleep(0.02)


@asynccontextmanager
async def webhook_receiver() -> AsyncGenerator[WebhookReceiver]:
    made = WebhookReceiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2**20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await stop_listening(server)
