"""Middleware: headers for browsers, caching, and limits on the size and duration of a request."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from florin.kit.http import compression
from florin.kit.http.asgi import Receive
from florin.kit.server import protocol
from tests.conftest import Urls
from tests.support.api_calls import key
from tests.support.instance import Instance, Shop, instance

SHOP = "https://shop.example"
KEPT = {"/api/v1/docs", "/api/v1/openapi.json"}


@pytest.fixture(scope="module")
def public(urls: Urls) -> Iterator[Instance]:
    """An instance behind TLS with a public URL, whose API the pages of one origin may call."""
    settings = {
        "FLORIN_PUBLIC_URL": "https://cards.example",
        "FLORIN_CORS_ORIGINS": f"{SHOP},http://localhost:3000",
    }
    with instance(f"{urls.app}?connection_limit=5", **settings) as running:
        yield running


@pytest.mark.parametrize(
    "path", ["/api/v1/cards", "/api/v1/nowhere", "/health/live", "/health/ready", *sorted(KEPT)]
)
def test_every_answer_has_the_security_headers_of_its_type(public: Instance, path: str) -> None:
    got = httpx.get(f"{public.base}{path}").headers
    assert got["x-content-type-options"] == "nosniff"
    assert got["referrer-policy"] == "no-referrer"
    assert got["x-frame-options"] == "DENY"
    assert got["permissions-policy"] == "camera=()"
    assert got["strict-transport-security"].startswith("max-age=63072000")
    assert "default-src 'none'" in got["content-security-policy"]
    assert "frame-ancestors 'none'" in got["content-security-policy"]
    assert "unsafe" not in got["content-security-policy"]
    assert got["cache-control"] == ("no-cache" if path in KEPT else "no-store")
    assert got["x-request-id"]
    assert "server" not in got
    for name in ("content-security-policy", "cache-control", "vary", "x-request-id"):
        assert len(got.get_list(name)) <= 2 if name == "vary" else 1


async def test_a_redemption_has_the_security_headers(http: httpx.AsyncClient, shop: Shop) -> None:
    made = await http.post("/cards", json={"program": shop.program, "amount": 5}, headers=key())
    spend = {"code": made.json()["code"], "amount": 1, "currency": "EUR"}
    for answer in (
        await http.post("/redemptions", json=spend, headers=key()),
        await http.post("/redemptions", json=spend),
        made,
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        # No public URL is set, so the instance assumes plain HTTP.
        assert "strict-transport-security" not in answer.headers


def test_only_named_origins_may_read_answers(public: Instance, api: Instance) -> None:
    def ask_from(base: str, origin: str) -> httpx.Headers:
        return httpx.get(f"{base}/api/v1/cards", headers={"origin": origin}).headers

    allowed = ask_from(public.base, SHOP)
    assert allowed["access-control-allow-origin"] == SHOP
    assert "Florin-Consistency" in allowed["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in allowed
    assert "Origin" in allowed["vary"]
    for origin in ("https://evil.example", f"{SHOP}.evil.example", "null", "HTTPS://SHOP.EXAMPLE"):
        refused = ask_from(public.base, origin)
        assert "access-control-allow-origin" not in refused
        assert "Origin" in refused["vary"]
    assert "access-control-allow-origin" not in ask_from(api.base, SHOP)


@pytest.mark.parametrize("path", ["/redemptions", "/cards", "/cards/crd_1/close"])
def test_preflight_requests_are_answered(public: Instance, api: Instance, path: str) -> None:
    def ask_from(base: str, origin: str) -> httpx.Response:
        wanted = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,idempotency-key",
        }
        return httpx.options(f"{base}/api/v1{path}", headers=wanted)

    answer = ask_from(public.base, SHOP)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]
    assert "*" not in "".join(answer.headers.values())
    for refused in (ask_from(public.base, "https://evil.example"), ask_from(api.base, SHOP)):
        assert not [name for name in refused.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", sorted(KEPT))
def test_documents_are_revalidated(api: Instance, path: str) -> None:
    for coding in ("identity", "gzip"):
        headers = {"accept-encoding": coding}
        first = httpx.get(f"{api.base}{path}", headers=headers)
        assert first.headers.get("content-encoding", "identity") == coding
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = httpx.get(f"{api.base}{path}", headers=headers | {"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        other = httpx.get(f"{api.base}{path}", headers=headers | {"if-none-match": '"other"'})
        assert other.content == first.content
    assert "Accept-Encoding" in first.headers["vary"]


def test_static_files_are_immutable_under_their_fingerprint(api: Instance) -> None:
    page = httpx.get(f"{api.base}/api/v1/docs").text
    (address,) = re.findall(r'href="(/static/docs\.[0-9a-f]{12}\.css)"', page)
    sheet = httpx.get(f"{api.base}{address}")
    assert sheet.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert sheet.headers["content-type"].startswith("text/css")
    known = {"if-none-match": sheet.headers["etag"]}
    assert httpx.get(f"{api.base}{address}", headers=known).status_code == 304
    for wrong in ("/static/docs.000000000000.css", "/static/docs.css", "/static/..%2fapp.py"):
        assert httpx.get(f"{api.base}{wrong}").status_code == 404


async def test_lists_are_compressed_and_single_objects_never(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    metadata = {f"pair-{n}": "x" * 400 for n in range(10)}
    wanted = {"program": shop.program, "amount": 5, "metadata": metadata}
    made = await http.post("/cards", json=wanted, headers=key() | {"accept-encoding": "gzip"})
    assert "content-encoding" not in made.headers
    one = await http.get(f"/cards/{made.json()['id']}", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in one.headers
    packed = await http.get("/cards", headers={"accept-encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 3000
    for coding in ("identity", "gzip;q=0", "br"):
        plain = await http.get("/cards", headers={"accept-encoding": coding})
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == "Accept-Encoding"
        assert plain.json() == packed.json()
    shown = await http.request("HEAD", "/cards", headers={"accept-encoding": "gzip"})
    assert (shown.status_code, shown.content) == (200, b"")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("GZIP;q=1.0, br", True),
        ("br;q=1, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("x-gzip2", False),
        ("", False),
        ("*;q=0", False),
    ],
)
def test_accept_encoding_decides_about_gzip(header: str, wanted: bool) -> None:
    assert compression.accepts_gzip(header) is wanted


async def raw(api: Instance, *pieces: bytes, within_s: float = 20) -> bytes:
    """Send bytes over a new connection; return everything received until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        async with asyncio.timeout(within_s):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def problem_in(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"x-request-id: " in head.lower()
    return json.loads(body)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 17000 + b"\r\n\r\n"],
        [b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nhost: x\r\nx: ", *[b"a" * 4000] * 8],
        [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n" * 500] * 8],
    ],
)
async def test_headers_are_bounded(api: Instance, pieces: list[bytes]) -> None:
    assert problem_in(await raw(api, *pieces))["code"] == "headers_too_large"


async def test_a_head_within_the_limit_is_accepted(api: Instance) -> None:
    filler = b"x: " + b"a" * 15000 + b"\r\n"
    line = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    answer = await raw(api, line + filler + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_invalid_http_is_answered_with_a_problem_document(
    api: Instance, request_: bytes
) -> None:
    answer = await raw(api, request_)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert problem_in(answer)["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/cards", "/redemptions"])
async def test_a_body_is_bounded(http: httpx.AsyncClient, path: str) -> None:
    async def endless() -> object:
        for _ in range(64):
            yield b" " * 16384

    for body in (b" " * (256 * 1024 + 1), endless()):
        answer = await http.post(path, content=body, headers=key())  # pyright: ignore[reportArgumentType]
        assert answer.status_code == 413
        assert answer.json()["code"] == "too_large"


async def test_a_slow_request_times_out(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test's process, with short limits: an endless head and body, and a silent client."""
    import uvicorn

    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_WITHIN_S", 0.3)
    monkeypatch.setattr(protocol, "FIRST_WITHIN_S", 0.3)
    received: list[object] = []

    async def app(scope: object, receive: Receive, send: object) -> None:
        del scope, send
        received.append(await receive())
        received.append(await receive())

    config = uvicorn.Config(
        app, port=0, http=protocol.BoundedHttpProtocol, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # pyright: ignore[reportPrivateUsage]
    while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    here = Instance({}, port, urls)  # pyright: ignore[reportArgumentType] -- only its port
    try:
        before = time.monotonic()
        slow_head = await raw(here, b"GET / HTTP/1.1\r\n", b"host: x\r\n", b"x: ")
        assert problem_in(slow_head)["code"] == "too_slow"
        slow_body = await raw(
            here, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", b"a"
        )
        assert slow_body.startswith(b"HTTP/1.1 408")
        assert received[-1] == {"type": "http.disconnect"}
        assert await raw(here) == b""
        assert time.monotonic() - before >= 0.9
    finally:
        server.should_exit = True
        await serving


def test_the_compressed_document_equals_the_document(api: Instance) -> None:
    with httpx.stream(
        "GET", f"{api.base}/api/v1/openapi.json", headers={"accept-encoding": "gzip"}
    ) as answer:
        packed = b"".join(answer.iter_raw())
    assert json.loads(gzip.decompress(packed))["openapi"].startswith("3.1")
