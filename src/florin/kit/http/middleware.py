"""Middleware: the outermost layer of every request: request id, time, log line, metrics, errors.

A plain ASGI 3.0 layer around the application. It also calls the few fast routes: ASGI callables,
several times cheaper than a route of the framework, and documented in OpenAPI by the ordinary
handlers of the same routes.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from florin.kit import client_departure
from florin.kit.errors import ClientGone, Refusal, TooLarge
from florin.kit.http import paths, sse
from florin.kit.http.asgi import App, Message, Receive, Scope, Send
from florin.kit.http.body import problem_document, problem_headers
from florin.kit.http.drain import Drain
from florin.kit.http.head_checks import check_head
from florin.kit.http.headers import Headers, response_headers
from florin.kit.observability import logging, metrics, tracing
from florin.kit.observability.context import bind_work
from florin.kit.observability.request_records import RequestRecorder, read_ids
from florin.kit.postgres import commit_tracking

BODY_MAX = 256 * 1024  # bytes
_encode = msgspec.json.Encoder().encode
_log = logging.get_logger()


class RequestMiddleware:
    """Wraps `app`; `hot` maps (method, path) to the routes that bypass the framework."""

    def __init__(
        self,
        app: App,
        hot: dict[tuple[str, str], App],
        translate: Callable[[Exception, Scope], Refusal | None],
        drain: Drain,
        *,
        instance: str,
        position: Callable[[Scope], Awaitable[str | None]] | None = None,
        token: Callable[[str], bytes] = str.encode,
        wrote: Callable[[Sequence[str], str], Awaitable[None]] | None = None,
        headers: Callable[[Headers], None] | None = None,
        show: "ProblemView | None" = None,
    ) -> None:
        self._app = app
        self._hot = hot
        self._hot_paths = frozenset(path.encode() for _, path in hot)
        self._translate = translate
        self.drain = drain
        self._records = RequestRecorder(instance)
        self._position = position  # log position of a write that changed nothing
        self._token = token  # encodes a position as Florin-Consistency
        self._wrote = wrote
        self._add_headers = headers or response_headers(None)
        self._show = show or problem_json
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["request_id"], traceparent = read_ids(scope["headers"])
        trace = tracing.begin_trace(traceparent, "request", "server")
        bind_work(scope["request_id"], trace)
        commit_tracking.begin_request()
        client_departure.during(scope.get("client_connection"))
        scope = self._normalize(scope)
        route = self._hot.get((scope["method"], scope["path"]))
        status = 500
        begun = False
        self.drain.record_request(scope["path"])

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status = message["status"]
                if "position" in scope:
                    await self._record_write(scope)
                elif status < 500 and self._position is not None:  # noqa: PLR2004 -- else: unknown
                    where = await self._position(scope)
                    scope.update({"position": where} if where is not None else {})
                message["headers"] = self._headers(scope, message)
                begun = True
            await send(message)

        self.in_flight += 1
        metrics.in_flight.inc()
        try:
            check_head(scope)
            await (route or self._app)(scope, receive, answer)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else self._translate(error, scope)
            if refusal is None:
                _log.exception("a bug", route=_route(scope))
            if begun:
                raise
            if refusal is not None:
                await send_refusal(scope, answer, refusal, self._show)
            else:
                scope.pop("position", None)  # recording it may have been what failed
                await _send_bug(scope, answer, self._show)
        finally:
            self.in_flight -= 1
            metrics.in_flight.dec()
            seconds = scope.get("begun", time.perf_counter()) - started
            self._records.record(scope, status, seconds, _route(scope), trace)

    def _normalize(self, scope: Scope) -> Scope:
        """The request with a normalized path, and HEAD as GET, so that every rule applies."""
        if scope["raw_path"] not in self._hot_paths:  # those are normalized already
            scope["path"] = paths.normalized(scope["raw_path"])
        return _head_as_get(scope)

    async def _record_write(self, scope: Scope) -> None:
        """Publish the position of a write to all instances before the caller gets its answer."""
        if self._wrote is not None:
            actors = (scope.get("actor"), *scope.get("touched", ()))
            await self._wrote([each for each in actors if each], scope["position"])

    def _headers(self, scope: Scope, start: Message) -> Headers:
        headers = list(start.get("headers", ()))
        if sse.CONTENT_TYPE in headers:  # a stream's duration is no response time
            scope["begun"] = time.perf_counter()
        headers.append((b"x-request-id", scope["request_id"].encode()))
        headers.extend(scope.get("response_headers", ()))  # of any answer, also of a refusal
        self._add_headers(headers)
        if "position" in scope:
            headers.append((b"florin-consistency", self._token(scope["position"])))
        if self.drain.draining:
            headers.append((b"connection", b"close"))
        return headers


ProblemView = Callable[[Scope, Mapping[str, Any]], tuple[bytes, bytes]]


def problem_json(_scope: Scope, problem: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The media type and the body of a problem document (RFC 9457)."""
    return b"application/problem+json", _encode(problem)


async def send_refusal(
    scope: Scope, send: Send, refusal: Refusal, show: ProblemView = problem_json
) -> None:
    """Answer a refusal as a problem document, or as `show` renders it."""
    if refusal.position is not None:
        scope["position"] = refusal.position
    metrics.refusals.labels(refusal.code).inc()
    kind, body = show(scope, problem_document(refusal, scope["request_id"]))
    await send_response(
        send,
        refusal.status,
        body,
        kind=kind,
        headers=[(k.encode(), v.encode()) for k, v in problem_headers(refusal).items()],
    )


async def send_response(
    send: Send,
    status: int,
    body: bytes,
    *,
    kind: bytes = b"application/json",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Send a whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", kind),
                (b"content-length", str(len(body)).encode()),
                *(headers or ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, *, most: int = BODY_MAX) -> bytes:
    """Read a request's body. Raises TooLarge, ClientGone."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone("the client disconnected before the request was complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise TooLarge(f"The body is larger than {most} bytes")
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def header(scope: Scope, name: bytes) -> str | None:
    found = (value for key, value in scope["headers"] if key == name)
    return next((value.decode("latin-1") for value in found), None)


def _head_as_get(scope: Scope) -> Scope:
    """HEAD is handled as GET; the server omits the body."""
    return {**scope, "method": "GET", "head": True} if scope["method"] == "HEAD" else scope


def _route(scope: Scope) -> str:
    """The route's template: safe as a label and in the log, unlike the URL."""
    return scope.get("path_template") or "other"


async def _send_bug(scope: Scope, send: Send, show: ProblemView) -> None:
    problem = {
        "type": "/api/v1/docs#internal_error",
        "title": "Internal error.",
        "status": 500,
        "detail": "This is a bug in Florin; search its log for the request id.",
        "code": "internal_error",
        "request_id": scope["request_id"],
    }
    kind, body = show(scope, problem)
    await send_response(send, 500, body, kind=kind)
