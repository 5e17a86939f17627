"""HTTP receiver: a server in threads that can be down, slow or failing for a while."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.ports import free_port

_BODY_MAX = 512 * 1024  # bytes; both services refuse larger ones


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request."""

    status: int
    body: str
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


class HttpReceiver:
    """Answers POST requests by `accept`, which the service defines.

    `fail` makes the next requests fail as the service would; `stop` and `start` take the server
    away and bring it back on the same port. `attempts` counts all requests, the failed ones too.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.attempts = 0
        self.delay_s = 0.0
        self._failures: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, reply: Reply, times: int = 1) -> None:
        """Answer the next `times` requests with `reply` and record nothing of them."""
        with self._changed:
            self._failures.extend([reply] * times)

    def start(self) -> None:
        receiver = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                if size > _BODY_MAX:
                    self.close_connection = True
                    reply = Reply(413, "payload_too_large")
                else:
                    body = self.rfile.read(size)
                    reply = receiver.answer(self.path, self.headers.get_content_type(), body)
                data = reply.body.encode()
                self.send_response(reply.status)
                self.send_header("content-type", reply.content_type)
                self.send_header("content-length", str(len(data)))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name
                del format, args

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Requests)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, content_type: str, body: bytes) -> Reply:
        if self.delay_s:
            time.sleep(self.delay_s)
        with self._changed:
            self.attempts += 1
            try:
                if self._failures:
                    return self._failures.popleft()
                return self.accept(path, content_type, body)
            finally:
                self._changed.notify_all()

    def accept(self, path: str, content_type: str, body: bytes) -> Reply:
        """Check and record a request as the service does. Called under the lock."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until `condition` holds, checked after each request; False if it never did."""
        with self._changed:
            return self._changed.wait_for(condition, within_s)


@dataclass(slots=True)
class JsonBody:
    """A body that should be a JSON object; `value` is None if it is not."""

    raw: bytes
    value: dict[str, Any] | None = field(init=False)

    def __post_init__(self) -> None:
        try:
            read = json.loads(self.raw)
        except ValueError:
            read = None
        self.value = read if isinstance(read, dict) else None
