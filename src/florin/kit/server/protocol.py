"""Protocol: uvicorn's HTTP/1.1 with limits that uvicorn leaves to a proxy: size and duration of the
head, and duration of the body, before the application gets the request.

Without them one connection can send endless headers, or a byte per minute (Slowloris), and occupy
memory without limit. A head or body that arrives in one piece, as nearly all do, needs no timer.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from florin.kit import ids
from florin.kit.client_departure import ClientConnection
from florin.kit.errors import HeadersTooLarge, InvalidRequest, Refusal, TooSlow
from florin.kit.http.body import problem_document
from florin.kit.observability import logging
from florin.kit.server.write_buffering import BufferedTransport

HEAD_MAX = 16 * 1024  # bytes: request line and headers
HEAD_WITHIN_S = 10.0
BODY_WITHIN_S = 30.0
FIRST_WITHIN_S = 75.0  # until the first request of a connection
LINGER_S = 2.0  # after a refusal, further input is read and discarded for so long
FORGOTTEN_MAX = 8 * 1024 * 1024  # bytes discarded of a body that was refused before its end

_log = logging.get_logger()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0  # bytes of the current head
        self._in_head = False
        self._in_body = False
        self._refused = False
        self._forgotten = 0  # bytes of a body whose answer was sent before its end
        self._patience: asyncio.TimerHandle | None = None
        self._client = ClientConnection()

    def connection_made(self, transport: asyncio.Transport) -> None:
        gathered: Any = BufferedTransport(transport, self.loop)
        super().connection_made(gathered)
        self._wait(FIRST_WITHIN_S, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._client.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self._in_head, self._in_body
        if self._patience is not None and before == (False, False):
            self._stop_waiting()
        super().data_received(data)
        if self._in_head and before[0]:
            self._head += len(data)
            if self._head > HEAD_MAX:
                self._refuse(HeadersTooLarge(f"The headers are larger than {HEAD_MAX} bytes"))
                return
        now = self._in_head, self._in_body
        if now != before or self._patience is None:
            self._stop_waiting()
            if self._in_head:
                self._wait(
                    HEAD_WITHIN_S,
                    TooSlow(f"The headers did not arrive within {HEAD_WITHIN_S:.0f} s"),
                )
            elif self._in_body:
                self._wait(
                    BODY_WITHIN_S, TooSlow(f"The body did not arrive within {BODY_WITHIN_S:.0f} s")
                )

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()
        self.scope["client_connection"] = self._client  # pyright: ignore[reportGeneralTypeIssues] -- an extension

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head > HEAD_MAX:
            self._refuse(HeadersTooLarge(f"The headers are larger than {HEAD_MAX} bytes"))
        if self._refused:
            return
        self._in_body, self._forgotten = True, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        if self.cycle.response_complete:
            self._forgotten += len(body)
            if self._forgotten > FORGOTTEN_MAX:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP with a problem document, as everything else."""
        self._refuse(InvalidRequest("Not a well-formed HTTP request"), status=400)
        del msg

    def _refuse(self, refusal: Refusal, status: int | None = None) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        request_id = f"req_{ids.new_id().hex}"
        document = problem_document(refusal, request_id) | {"status": status or refusal.status}
        _log.info("refused before it was read", request_id=request_id, code=refusal.code)
        if self._answerable():
            body = msgspec.json.encode(document)
            self.transport.write(
                STATUS_LINE[document["status"]]
                + b"content-type: application/problem+json\r\n"
                + b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
                + b"x-request-id: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
                % (request_id.encode(), len(body))
                + body
            )
        if self._in_body:  # the application waits for the rest, which is no longer read
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Not closed at once: with unread input the kernel would send RST and discard the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._patience = self.loop.call_later(LINGER_S, self.transport.close)

    def _answerable(self) -> bool:
        """Whether the client would read the answer as that of the refused request."""
        if self._in_body:
            return not self.cycle.response_started
        before: Any = self.cycle  # None at first, unlike in uvicorn's type
        return before is None or before.response_complete

    def _wait(self, seconds: float, refusal: Refusal | None) -> None:
        self._patience = self.loop.call_later(seconds, self._time_out, refusal)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _time_out(self, refusal: Refusal | None) -> None:
        self._patience = None
        if refusal is not None:
            self._refuse(refusal)
        elif not self.transport.is_closing():
            self.transport.close()
