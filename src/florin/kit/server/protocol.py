"""Protocol: uvicorn's HTTP/1.1, with bounds that it leaves to a proxy: how large and how slow a
request may be before the application hears of it.

Without them one connection can send headers without end, or a byte a minute, and hold memory for as
long as it likes. A head or body that comes in one piece, as nearly all do, costs no timer.
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
FIRST_WITHIN_S = 75.0  # a connection that never asks anything
LINGER_S = 2.0  # after a refusal what still comes is read and forgotten
FORGOTTEN_MAX = 8 * 1024 * 1024  # bytes of a body that is refused before its end

_log = logging.get_logger()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0  # bytes of the head under way
        self._in_head = False
        self._in_body = False
        self._refused = False
        self._forgotten = 0  # bytes of a body whose answer was given before its end
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
                self._refuse(HeadersTooLarge(f"the headers are larger than {HEAD_MAX} bytes"))
                return
        now = self._in_head, self._in_body
        if now != before or self._patience is None:
            self._stop_waiting()
            if self._in_head:
                self._wait(HEAD_WITHIN_S, TooSlow("the headers took too long"))
            elif self._in_body:
                self._wait(BODY_WITHIN_S, TooSlow("the body took too long"))

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
            self._refuse(HeadersTooLarge(f"the headers are larger than {HEAD_MAX} bytes"))
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
        """What cannot be read as HTTP is refused as everything else is."""
        self._refuse(InvalidRequest("this is not a well-formed HTTP request"), status=400)
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
        if self._in_body:  # the application waits for the rest, which nobody reads any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closed at once, with bytes still unread, the kernel would throw the answer away.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._patience = self.loop.call_later(LINGER_S, self.transport.close)

    def _answerable(self) -> bool:
        """Whether the answer would be taken for that of the request which is refused."""
        if self._in_body:
            return not self.cycle.response_started
        before: Any = self.cycle  # uvicorn's type forgets that at first there is none
        return before is None or before.response_complete

    def _wait(self, seconds: float, refusal: Refusal | None) -> None:
        self._patience = self.loop.call_later(seconds, self._lose_patience, refusal)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self, refusal: Refusal | None) -> None:
        self._patience = None
        if refusal is not None:
            self._refuse(refusal)
        elif not self.transport.is_closing():
            self.transport.close()
