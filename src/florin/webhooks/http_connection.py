"""HTTP connection: one connection to an endpoint, with one request at a time (RFC 9112).

Answers are parsed by llhttp, which is strict, and cut: the receiver decides neither how much memory
an answer takes nor when it ends. A connection is used again only after a whole answer, with nothing
behind it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import httptools

ANSWER_MAX = 64 * 1024  # bytes that are read of an answer's body
_RECEIVED_MAX = 2 * ANSWER_MAX  # in all: headers and the frames of chunks have no other limit
_INFORMATIONAL, _SWITCHING = range(100, 200), 101


class AnswerNotValid(Exception):
    """What was received is not an answer in HTTP/1.1; the message is the reason."""


@dataclass(slots=True)
class Answer:
    """An answer, or its beginning."""

    status: int = 0
    retry_after: bytes = b""
    body: bytearray = field(default_factory=bytearray)


class HttpConnection(asyncio.Protocol):
    """The parser calls `on_…`."""

    def __init__(self) -> None:
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._received = 0
        self._is_framed = self._has_headers = False

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and return its answer. Raises AnswerNotValid, ConnectionError."""
        assert self._transport is not None
        assert self._waiting is None
        self.is_reusable = False
        self._answer, self._received = Answer(), 0
        self._is_framed = self._has_headers = False
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Close at once: what is not sent yet is dropped."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            self.close()  # no one asked
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not waiting.done():
                waiting.set_exception(AnswerNotValid(f"no HTTP ({type(error).__name__})"))
            self.close()
            return
        if waiting.done():
            return
        if len(self._answer.body) >= ANSWER_MAX or self._received >= _RECEIVED_MAX:
            if self._has_headers:
                waiting.set_result(self._answer)
            else:
                waiting.set_exception(AnswerNotValid("the headers are too long"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if self._has_headers and not self._is_framed and exc is None:
            waiting.set_result(self._answer)  # its end is that of the connection
            return
        waiting.set_exception(ConnectionResetError("the connection ended before the answer"))

    # -- llhttp ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiting is None or self._waiting.done():
            self._answer = Answer()  # behind the answer: of no one, and not to be mixed with it
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"retry-after":
            self._answer.retry_after = value
        elif lowered in {b"content-length", b"transfer-encoding"}:
            self._is_framed = True

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._has_headers = self._answer.status not in _INFORMATIONAL

    def on_body(self, body: bytes) -> None:
        if len(self._answer.body) < ANSWER_MAX:
            self._answer.body += body

    def on_message_complete(self) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if self._answer.status == _SWITCHING:
            waiting.set_exception(AnswerNotValid("the receiver switches protocols"))
            self.close()
        elif self._has_headers:
            self.is_reusable = self._parser.should_keep_alive()
            waiting.set_result(self._answer)
        else:
            self._answer, self._is_framed = Answer(), False  # 100 Continue: the answer follows
