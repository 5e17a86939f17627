"""Internal API: pages call the routes of the API in the same process, as the person who signed in.

So a page can do exactly what the API allows this person: the same permissions, checks, limits,
idempotency keys, audit records and log lines apply, and no rule exists twice.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from florin.kit.http.asgi import App, Message, Scope

BASE = "/api/v1"
_CHUNKS_MAX = 8  # of an answer that waits for a slow browser
# What the API must know of the browser: limits count its address, a session its program.
_FORWARDED = frozenset((b"user-agent", b"x-forwarded-for", b"traceparent", b"host"))


class ApiProblem(Exception):
    """The API refused: `problem` is its problem document (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any], retry_after: str | None = None) -> None:
        super().__init__(problem.get("detail", ""))
        self.problem = problem
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))

    @property
    def status(self) -> int:
        return int(self.problem.get("status", 500))

    @property
    def detail(self) -> str:
        return str(self.problem.get("detail", ""))

    def details(self) -> dict[str, str]:
        """The reasons by the name of the field, where fields are to blame."""
        if "errors" in self.problem:
            return {str(each["param"]): str(each["detail"]) for each in self.problem["errors"]}
        param = self.problem.get("param")
        return {str(param): self.detail} if param else {}


@dataclass(slots=True)
class StreamedAnswer:
    """An answer of the API whose body is still being made."""

    status: int
    headers: dict[bytes, bytes]
    chunks: AsyncGenerator[bytes]


class InternalApi:
    """Calls the application of this instance. `connect` gives it the application."""

    def __init__(self) -> None:
        self._app: App | None = None

    def connect(self, app: App) -> None:
        self._app = app

    async def stream(self, scope: Scope, body: bytes) -> StreamedAnswer:
        """Send a request; return when the answer begins. The caller reads `chunks` to the end."""
        assert self._app is not None
        messages: asyncio.Queue[Message | None] = asyncio.Queue(_CHUNKS_MAX)
        sent = False
        answered = asyncio.Event()

        async def receive() -> Message:
            nonlocal sent
            if sent:
                # Not before: a browser that leaves cancels nothing, the outcome is recorded. A
                # streamed answer waits for it after its end.
                await answered.wait()
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            await messages.put(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        async def run(app: App) -> None:
            try:
                await app(scope, receive, send)
            finally:
                await messages.put(None)

        # A task of its own: what the API binds to its context must not change the page's.
        task = asyncio.create_task(run(self._app))
        start = await messages.get()
        if start is None:
            await task
            raise AssertionError("the application answered nothing")

        async def chunks() -> AsyncGenerator[bytes]:
            while (message := await messages.get()) is not None:
                yield message.get("body", b"")
            await task

        return StreamedAnswer(start["status"], dict(start["headers"]), chunks())


class ApiClient:
    """The API for one page's request, with the credentials of the person who sent it."""

    def __init__(self, api: InternalApi, scope: Scope, authorization: str | None) -> None:
        self._api = api
        self._scope = scope
        self._authorization = authorization

    async def get(self, path: str, **query: Any) -> Any:
        """A document of the API. Raises ApiProblem."""
        given = {name: value for name, value in query.items() if value not in {None, ""}}
        return await self._decoded("GET", path, urlencode(given))

    async def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Raises ApiProblem."""
        return await self._decoded("POST", path, "", body, key)

    async def patch(self, path: str, body: Any) -> Any:
        return await self._decoded("PATCH", path, "", body)

    async def delete(self, path: str, **query: Any) -> Any:
        return await self._decoded("DELETE", path, urlencode(query))

    async def upload(self, path: str, content: bytes, kind: str, *, key: str, **query: Any) -> Any:
        """Send a body of another kind than JSON."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        scope = self._request("POST", path, given, kind.encode(), key, len(content))
        return await self._read(await self._api.stream(scope, content))

    async def download(self, path: str) -> StreamedAnswer:
        """POST, and stream the answer. Raises ApiProblem."""
        answer = await self._api.stream(self._request("POST", path, "", None, None, 0), b"")
        if answer.status >= 400:  # noqa: PLR2004 -- a refusal
            await self._read(answer)
        return answer

    async def _decoded(
        self, method: str, path: str, query: str, body: Any = None, key: str | None = None
    ) -> Any:
        content = b"" if body is None else msgspec.json.encode(body)
        kind = None if body is None else b"application/json"
        scope = self._request(method, path, query, kind, key, len(content))
        return await self._read(await self._api.stream(scope, content))

    async def _read(self, answer: StreamedAnswer) -> Any:
        body = b"".join([chunk async for chunk in answer.chunks])
        decoded = msgspec.json.decode(body) if body else None
        if answer.status >= 400:  # noqa: PLR2004 -- a refusal
            after = answer.headers.get(b"retry-after")
            raise ApiProblem(decoded or {}, None if after is None else after.decode())
        return decoded

    def _request(
        self, method: str, path: str, query: str, kind: bytes | None, key: str | None, size: int
    ) -> Scope:
        sent = self._scope
        headers = [pair for pair in sent["headers"] if pair[0] in _FORWARDED]
        headers.append((b"x-request-id", str(sent["request_id"]).encode()))
        headers.append((b"content-length", str(size).encode()))
        if self._authorization is not None:
            headers.append((b"authorization", self._authorization.encode()))
        if kind is not None:
            headers.append((b"content-type", kind))
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))
        return {
            "type": "http",
            "asgi": sent["asgi"],
            "http_version": sent["http_version"],
            "method": method,
            "scheme": sent["scheme"],
            "path": f"{BASE}{path}",
            "raw_path": f"{BASE}{path}".encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": sent.get("client"),
            "server": sent.get("server"),
            "state": {},
        }
