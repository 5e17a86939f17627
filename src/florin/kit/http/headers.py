"""Headers: the security headers of every response, and CORS.

`response_headers` adds to every response; a page may set its own policy. CORS is off until origins
are configured. Credentials are sent in `Authorization`, so CORS never allows cookies.
"""

from collections.abc import Callable, Iterable

from florin.kit.http.asgi import App, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

HSTS = b"max-age=63072000; includeSubDomains"  # two years; hstspreload.org requires at least one
POLICY = b"default-src 'none'; frame-ancestors 'none'"
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        (
            b"authorization, content-type, idempotency-key, florin-consistency, last-event-id,"
            b" x-request-id"
        ),
    ),
    (b"access-control-max-age", b"7200"),  # seconds, the most that browsers cache it
]
_PLAIN: Headers = [
    (
        b"access-control-expose-headers",
        b"X-Request-Id, Florin-Consistency, Idempotency-Replayed, Retry-After",
    )
]


def response_headers(public_url: str | None) -> Callable[[Headers], None]:
    """Return a function that adds the missing security headers to a response's headers."""
    fixed = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]
    if public_url is not None and public_url.startswith("https://"):
        fixed.append((b"strict-transport-security", HSTS))
    defaults = (
        (b"cache-control", b"no-store"),
        (b"content-security-policy", POLICY),
        (b"permissions-policy", b"camera=()"),
        (b"referrer-policy", b"no-referrer"),
    )

    def add(headers: Headers) -> None:
        own = {name for name, _ in headers}
        headers.extend(fixed)
        headers.extend(pair for pair in defaults if pair[0] not in own)

    return add


def allow_cross_origin(app: App, origins: Iterable[str]) -> App:
    """Wrap an application to allow requests of other origins (CORS, Fetch standard, 3.2)."""
    known = frozenset(each.encode() for each in origins)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        sent = dict(scope["headers"])
        origin = sent.get(b"origin")
        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in sent

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: Headers = [*message.get("headers", ()), (b"vary", b"Origin")]
                if origin is not None and origin in known:
                    headers.append((b"access-control-allow-origin", origin))
                    headers += _PREFLIGHT if preflight else _PLAIN
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, answer)

    return wrapped
