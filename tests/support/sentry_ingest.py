"""Sentry ingest: receives envelopes over HTTP with Sentry's protocol, as its servers do."""

import gzip
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Ingest:
    """What was received: the events, and the whole text of every request, headers included."""

    port: int = 0
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    kinds: set[str] = field(default_factory=set[str])
    text: str = ""

    @property
    def dsn(self) -> str:
        return f"http://0123456789abcdef@127.0.0.1:{self.port}/42"

    def wait(self, number: int, *, within_s: float = 30) -> None:
        """Wait until at least so many events were received."""
        deadline = time.monotonic() + within_s
        while len(self.events) < number:
            assert time.monotonic() < deadline, f"{len(self.events)} of {number} events"
            time.sleep(0.05)


def _items(body: bytes) -> Generator[tuple[dict[str, Any], bytes]]:
    """The items of an envelope: https://develop.sentry.dev/sdk/data-model/envelopes/."""
    _, _, rest = body.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        head = json.loads(line)
        length = head.get("length", rest.find(b"\n"))
        yield head, rest[:length]
        rest = rest[length:].lstrip(b"\n")


@contextmanager
def ingest() -> Generator[Ingest]:
    """Run an ingest server on loopback."""
    made = Ingest()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.text += f"{self.path}\n{self.headers}\n{body.decode()}\n"
            assert self.path == "/api/42/envelope/"
            for head, item in _items(body):
                made.kinds.add(head["type"])
                if head["type"] == "event":
                    made.events.append(json.loads(item))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_request(self, code: Any = "-", size: Any = "-") -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
