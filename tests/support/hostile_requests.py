"""Hostile requests: a corpus of malformed and hostile input that must be refused without effect."""

import asyncio
from typing import Any, Self

import httpx

from tests.support.api_calls import key
from tests.support.instance import Instance, Shop

NIL = "0" * 32
LIMIT = 256 * 1024  # bytes of a body; a batch has four times as much
SQL = (
    "' or '1'='1", "'; drop schema florin cascade; --", "1); select pg_sleep(9); --", "\\'; --",
    "$1", "$$;select 1;$$", "%' or true --", "') union select secret from florin.api_key --",
    "E'\\x27'", "\u02bc or 1=1", "\uff07 or 1=1",
)  # fmt: skip
TEXT = (
    "", " ", "a\r\nX-Evil: 1", "a\nb", "\t", "\x1b[31m", "\x7f", "../../etc/passwd", "%00",
    "%0d%0a",
    "{{7*7}}", "${jndi:ldap://x}", "<script>alert(1)</script>", "\u202e", "\ufeff", "\u200b",
    "\uff11\uff12\uff13", "\u0430\u0435", "\U0001f4b3", "null", "true", "NaN", "a" * 300,
    "b" * 60_000,
)  # fmt: skip
NUMBERS = (
    "1e3", "5.0", "5.5", "-0", "-0.0", "-1", "0", "1e400", "-1e400", "9" * 19, "9" * 30, "9" * 5000,
    "1" + "0" * 13, "18446744073709551617", "1E-7", "NaN", "Infinity", "-Infinity", '"5"', '""',
    "true", "null", "[5]", "{}", "05", "+5", "0x5", "5.", ".5", "5e", "1_000", "\uff15",
)  # fmt: skip
MEANT = {  # a number of a kind that the route takes
    ("/refunds", "null"),  # all that is left
    ("/adjustments", "-1"),
    ("/redemptions/batch", "[5]"),  # each item is refused by itself
}
DEEP = ("[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000, "[" * 100_000)
BYTES: tuple[bytes, ...] = (
    b"", b" ", b"\x00", b"{", b"}", b"[]", b"null", b"5", b'"x"', b"{}x", b"{},{}",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}',
    b"\x1f\x8b\x08\x00",
    b"code=1&amount=5", b"<a/>", b"{'a':1}", b'{"a":1,}', b"{/**/}", b'{"a":"\n"}',
)  # fmt: skip
BODIES = (  # each with a field for numbers, but the look-up
    "/redemptions", "/redemptions/batch", "/cards/lookup", "/cards", "/holds", "/loads", "/refunds",
    "/transfers", "/adjustments", "/programs", "/auth/login", "/api-keys",
)  # fmt: skip
PATHS = (
    ("GET", "/cards/{}"), ("GET", "/cards/{}/entries"), ("POST", "/cards/{}/block"),
    ("POST", "/cards/{}/rotate-code"), ("GET", "/redemptions/{}"), ("POST", "/holds/{}/capture"),
    ("GET", "/programs/{}"), ("DELETE", "/api-keys/{}"), ("GET", "/jobs/{}"),
    ("GET", "/entries/{}"),
)  # fmt: skip
_SUM = "select count(*) || ' ' || coalesce(sum(hashtext(t::text)::bigint), 0) from florin.{} t"


class Books:
    """A checksum of all tables: equal before and after means that nothing changed."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self.before = ""

    async def __aenter__(self) -> Self:
        self.before = await self.line()
        return self

    async def __aexit__(self, *error: object) -> None:
        if error[0] is None:
            assert await self.line() == self.before

    async def line(self) -> str:
        names = await self._owner.fetch(
            "select tablename as name from pg_tables where schemaname = 'florin'"
            " and tablename not in ('failed_attempt', 'heartbeat', 'ledger_check', 'process')"
            " and tablename not like 'queue%'"
            " order by 1"
        )
        lines = [await self._owner.fetchval(_SUM.format(each["name"])) for each in names]
        assert len(lines) > 10
        return "\n".join(lines)


def refused(answer: httpx.Response, sent: object, *secrets: str) -> None:
    """Check that the answer is a refusal with a code and reveals no internals."""
    about = (str(sent)[:200], answer.status_code, answer.text[:300])
    assert 400 <= answer.status_code < 500, about
    assert answer.headers["content-type"] == "application/problem+json", about
    body = answer.json()
    assert body["code"], about
    assert body["status"] == answer.status_code, about
    assert "x-evil" not in answer.headers, about
    assert len(answer.content) < 4096, about
    shown = answer.text + str(answer.headers)
    assert not any(secret in shown for secret in secrets), about
    shown = shown.replace(str(sent), "")  # the caller's own input
    for word in ("asyncpg", "Traceback", "msgspec", "litestar", "syntax error", "pg_"):
        assert word not in shown, about


def body_of(path: str, shop: Shop, card: dict[str, Any]) -> dict[str, Any]:
    """A valid body of the route."""
    spend = {"card": card["id"], "amount": 5, "currency": "EUR"}
    return {
        "/redemptions": spend,
        "/redemptions/batch": {"redemptions": [{**spend, "idempotency_key": "corpus"}]},
        "/cards/lookup": {"code": card["code"]},
        "/cards": {"program": shop.program, "amount": 5},
        "/holds": spend,
        "/loads": {"card": card["id"], "amount": 5},
        "/refunds": {"redemption": f"red_{NIL}", "amount": 5},
        "/transfers": {"from": card["id"], "to": card["id"], "amount": 5},
        "/adjustments": {"card": card["id"], "amount": 5, "reason": "count"},
        "/programs": {
            "name": "x", "currency": "EUR", "min_amount": 5, "max_amount": 5,
            "expires_after_months": 60,
        },
        "/auth/login": {"email": "a@shop.example", "password": "correct horse battery"},
        "/api-keys": {"name": "x", "scopes": ["cards:read"]},
    }[path]  # fmt: skip


async def send(
    till: httpx.AsyncClient, path: str, body: str | bytes, **more: str
) -> httpx.Response:
    headers = {"content-type": "application/json", **key(), **more}
    content = body.encode() if isinstance(body, str) else body
    return await till.post(path, content=content, headers=headers)


async def ask(port: int, path: str, *, method: str = "GET") -> tuple[int, bytes]:
    """Send a path unchanged: a client library would normalize it."""
    lines = (f"{method} {path} HTTP/1.1", "Host: x", "Content-Length: 0", "Connection: close")
    return await _sent(port, "\r\n".join((*lines, "", "")).encode())


async def raw(api: Instance, text: bytes) -> tuple[int, bytes]:
    """Send raw bytes, which client libraries refuse to; return status and response."""
    return await _sent(api.port, text)


async def _sent(port: int, text: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        answer = await asyncio.wait_for(reader.read(), 90)
        return int(answer.split(b" ", 2)[1]), answer
    finally:
        writer.close()


def request(shop: Shop, path: str, body: bytes, *lines: bytes) -> bytes:
    chunked = any(line.startswith(b"Transfer-Encoding") for line in lines)
    head = [
        f"POST /api/v1{path} HTTP/1.1".encode(), b"Host: x", b"Connection: close",
        f"Authorization: Bearer {shop.secret}".encode(), b"Content-Type: application/json",
        *(() if chunked else (b"Content-Length: %d" % len(body),)),
        *lines,
    ]  # fmt: skip
    return b"\r\n".join([*head, b"", body])
