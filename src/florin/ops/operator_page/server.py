"""Server: the ASGI application of the operator process: page, document, stream, runbooks."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from florin.kit.http import paths, sse
from florin.kit.http.asgi import Receive, Scope, Send
from florin.kit.http.drain import Drain
from florin.ops.autoscaling.wanted_workers import WantedWorkers
from florin.ops.mailbox.kept_mails import MailFolder
from florin.ops.operator_page import page
from florin.ops.operator_page.mailbox_view import ROOT as MAILBOX
from florin.ops.operator_page.mailbox_view import mailbox_page
from florin.ops.operator_page.observer import FleetObserver
from florin.ops.operator_page.static_files import PREFIX, static_file

PAGE, STATE, RUNBOOKS = "/operator", "/operator/state", "/operator/runbooks/"
WORKERS = "/workers"
STREAMS_MOST = 50
_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self';"
    b" connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HTML, _JSON = "text/html; charset=utf-8", "application/json"
_TEXT = "text/plain; charset=utf-8"
_NOT_FOUND = b"Not found. The page is at /operator.\n"
_UNKNOWN = b'{"detail":"the queues cannot be read"}'
_FOREVER = b"public, max-age=31536000, immutable"


class OperatorApplication:
    """The ASGI application: GET and HEAD only; it changes nothing."""

    def __init__(
        self,
        observer: FleetObserver,
        drain: Drain,
        metrics: Callable[[], Awaitable[bytes]],
        workers: WantedWorkers | None = None,
        mailbox: MailFolder | None = None,
    ) -> None:
        self._observer, self._drain, self._metrics = observer, drain, metrics
        self._workers, self._mailbox = workers, mailbox
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = paths.normalized(scope["raw_path"])
        if scope["method"] not in {"GET", "HEAD"}:
            await _send(scope, send, 405, b"Only GET and HEAD are answered.\n", _TEXT)
        elif path == STATE and _wants_stream(scope):
            await self._stream(scope, receive, send)
        elif path == WORKERS and self._workers is not None:
            number = self._workers.document()
            body = _UNKNOWN if number is None else number
            await _send(scope, send, 503 if number is None else 200, body, _JSON)
        elif path.startswith(PREFIX):
            file = static_file(path.removeprefix(PREFIX))
            if file is None:
                await _send(scope, send, 404, _NOT_FOUND, _TEXT)
            else:
                await _send(scope, send, 200, file.body, file.kind, cache=_FOREVER)
        elif path == MAILBOX or path.startswith(f"{MAILBOX}/"):
            await self._show_mailbox(scope, send, path)
        else:
            document = await self._document(path, public=_is_public(scope))
            if document is None:
                await _send(scope, send, 404, _NOT_FOUND, _TEXT)
            else:
                await _send(scope, send, 200, *document)

    async def _document(self, path: str, *, public: bool) -> tuple[bytes, str] | None:
        if path == STATE:
            return msgspec.json.encode(self._observer.state()), _JSON
        if path == PAGE:
            return page.render_page(self._observer.state(), public=public), _HTML
        if path == "/health/live":
            return b'{"status":"alive"}', _JSON
        if path == "/metrics":
            return await self._metrics(), "text/plain; version=0.0.4; charset=utf-8"
        if path.startswith(RUNBOOKS):
            document = page.render_runbook(path.removeprefix(RUNBOOKS))
            return None if document is None else (document, _HTML)
        return None

    async def _show_mailbox(self, scope: Scope, send: Send, path: str) -> None:
        shown = None if self._mailbox is None else mailbox_page(self._mailbox, path)
        if shown is None:
            await _send(scope, send, 404, _NOT_FOUND, _TEXT)
        else:
            await _send(scope, send, 200, shown.html, _HTML, policy=shown.policy or _POLICY)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams >= STREAMS_MOST:
            await _send(scope, send, 503, b"Too many open streams.\n", _TEXT)
            return
        self._streams += 1
        events = _events(self._observer)
        scope["head"] = scope["method"] == "HEAD"
        try:
            await sse.send_events(events, self._drain, scope, receive, send)
        finally:
            self._streams -= 1
            await events.aclose()


async def _events(observer: FleetObserver) -> AsyncGenerator[bytes]:
    yield sse.RECONNECT
    async for state in observer.states():
        yield b"event: state\ndata: " + msgspec.json.encode(state) + b"\n\n"


def _wants_stream(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name == b"accept"]
    return any(sse.KIND.encode() in kind for kind in kinds)


def _is_public(scope: Scope) -> bool:
    """Whether an instance asks for a person who signed in on the public port."""
    return any(name == b"florin-public" for name, _ in scope["headers"])


async def _send(
    scope: Scope,
    send: Send,
    status: int,
    body: bytes,
    kind: str,
    *,
    cache: bytes = b"no-store",
    policy: bytes = _POLICY,
) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", cache),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"content-security-policy", policy),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    shown = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": shown})
