"""Hostile heads: paths, queries and headers, and their sizes, at routes of each kind."""

import json
from collections.abc import AsyncGenerator
from urllib.parse import quote

import httpx
import pytest

from tests.support.api_calls import issue, key
from tests.support.hostile_requests import (
    LIMIT,
    NIL,
    PATHS,
    SQL,
    TEXT,
    Books,
    body_of,
    raw,
    refused,
    request,
    send,
)
from tests.support.instance import Instance, Shop


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_paths(
    till: httpx.AsyncClient, books: Books, shop: Shop, method: str, path: str
) -> None:
    card = await issue(till, shop)
    encoded = [quote(text, safe="") for text in (*SQL, *TEXT) if len(text) <= 300]
    raw = ["%ff", "%c0%af", "%ed%a0%80", "%00", "%", "%zz", "..", "%2e%2e", "x" * 8000, "\u0661"]
    spaces = [f"{card['id']}%00", f"{card['id']}%0a", f"%20{card['id']}", f"crd_{NIL}"]
    async with books:
        for text in (*encoded, *raw, *spaces):
            if text in ("", "..", "%2e%2e"):
                continue  # the path of another route
            answer = await till.request(method, path.format(text), headers=key())
            refused(answer, text, shop.secret, card["code"])


async def test_queries(till: httpx.AsyncClient, books: Books, shop: Shop) -> None:
    card = await issue(till, shop)
    names = ("state", "program", "cursor", "limit", "created_gte", "last4", "starting_after", "x")
    async with books:
        for path in ("/cards", "/redemptions", f"/cards/{card['id']}/entries"):
            for name in names:
                for text in (
                    *SQL,
                    *(each for each in TEXT if len(each) <= 300),
                    "-1",
                    "1e3",
                    "9" * 30,
                ):
                    answer = await till.get(path, params={name: text})
                    if text == "":
                        continue  # treated as omitted
                    if answer.status_code == 200:  # a filter that matches nothing
                        assert answer.json()["data"] == [], (path, name, text)
                        continue
                    refused(answer, json.dumps(text)[1:-1], shop.secret)
            for query in (
                "limit=%ff",
                "limit=%00",
                "limit=1&limit=2",
                "%",
                "&&&=",
                "a" * 9000,
            ):
                refused(await till.get(f"{path}?{query}"), (path, query), shop.secret)
        for text in SQL:
            answer = await till.get("/cards", params={f"metadata[{text[:30]}]": text})
            assert answer.status_code == 422 or answer.json()["data"] == []


@pytest.mark.parametrize("path", ["/redemptions", "/loads"])
async def test_headers(
    open_api: Instance, till: httpx.AsyncClient, shop: Shop, books: Books, path: str
) -> None:
    card = await issue(till, shop)
    body = json.dumps(body_of(path, shop, card)).encode()
    bad: tuple[tuple[bytes, ...], ...] = (
        (b"Idempotency-Key: a\x00b",), (b"Idempotency-Key: \xff",), (b"Idempotency-Key: \xc3\xa9",),
        (b"Idempotency-Key: a\nX-Evil: 1\x01",), (b"Idempotency-Key: " + b"k" * 256,),
        (b"Idempotency-Key: a\x1bb",), (b"Idempotency-Key:",), (b"Idempotency-Key:  ",),
        (b"Idempotency-Key: one", b"Idempotency-Key: two"), (b"Idempotency-Key: " + b"k" * 20_000,),
        (b"Idempotency-Key: a", b"X-Long: " + b"x" * 20_000),
        (b"Idempotency-Key: a", b"Bad Name: 1"),
        (b"Idempotency-Key: a", b"Content-Length: 5"), (b"Idempotency-Key: a", b" folded: 1"),
        (b"Idempotency-Key: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Idempotency-Key: a", b"Transfer-Encoding: gzip, chunked"),
    )  # fmt: skip
    async with books:
        for lines in bad:
            status, answer = await raw(open_api, request(shop, path, body, *lines))
            assert 400 <= status < 500, (lines, answer[:500])
            assert b"\r\nx-evil" not in answer.lower(), lines
            assert shop.secret.encode() not in answer
            assert b"application/problem+json" in answer, lines


async def test_only_a_harmless_request_id_is_accepted(
    till: httpx.AsyncClient, open_api: Instance, shop: Shop
) -> None:
    hostile = (
        b"a b", b"a;b", b"\xff", b"x" * 129, b"<script>", b"a\tb", b"'--", b"a%0d%0ab", b"{}", b"",
    )  # fmt: skip
    for path in ("/redemptions", "/loads"):
        for given in hostile:
            _, answer = await raw(open_api, request(shop, path, b"{}", b"X-Request-Id: " + given))
            ids = [line for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")]
            assert len(ids) == 1
            assert ids[0].startswith(b"x-request-id: req_"), (given, ids)
    own = await till.get("/cards", headers={"x-request-id": "till-4:17"})
    assert own.headers["x-request-id"] == "till-4:17"


async def test_invented_positions_are_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books
) -> None:
    await issue(till, shop)
    async with books:
        for path in ("/cards", "/entries"):
            for given in (
                *SQL[:9],
                "1.g",
                ".",
                "-1.-1",
                "1.1.1",
                "0x1.2",
                "9" * 4000,
                "1." + "f" * 400,
                "1_0.1",
            ):
                answer = await till.get(path, headers={"florin-consistency": given})
                refused(answer, given, shop.secret)


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/redemptions", LIMIT), ("/loads", LIMIT), ("/redemptions/batch", 4 * LIMIT)],
)
async def test_sizes(
    open_api: Instance, till: httpx.AsyncClient, shop: Shop, books: Books, path: str, limit: int
) -> None:
    card = await issue(till, shop)
    text = json.dumps(body_of(path, shop, card) | {"extra": ""})[:-2]

    async def pieces(size: int) -> AsyncGenerator[bytes]:
        yield text.encode()
        for _ in range(size // 4096):
            yield b"x" * 4096
        yield b'"}'

    headers = {"content-type": "application/json"}
    async with books:
        full = text + "x" * (limit - len(text) - 2) + '"}'
        # The longest body that is accepted: it is parsed, and its field is refused.
        answer = await send(till, path, full)
        refused(answer, "full")
        assert answer.status_code == 422
        answer = await send(till, path, full.replace('"}', 'x"}'))
        refused(answer, "over")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        for size, status in ((limit - 4096 * 2, 422), (limit + 4096, 413), (3 * limit, 413)):
            answer = await till.post(path, content=pieces(size), headers=headers | key())
            refused(answer, size)
            assert answer.status_code == status
        for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n", b"ffffffffffffffffff\r\n{}"):
            sent = request(shop, path, chunks, b"Transfer-Encoding: chunked", b"Idempotency-Key: a")
            status, result = await raw(open_api, sent)
            assert 400 <= status < 500, result[:300]


@pytest.mark.parametrize("path", ["/redemptions", "/loads", "/cards"])
async def test_other_types_of_content(till: httpx.AsyncClient, books: Books, path: str) -> None:
    """Content-Type is ignored: a body is JSON, or it is refused."""
    async with books:
        for kind in (
            "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml",
            "application/x-msgpack", "x", "application/json; charset=utf-16",
        ):  # fmt: skip
            for body in (b"card=1&amount=5", b"\x81\xa1a\x01", b"--x\r\n\r\n--x--", b"<a/>"):
                refused(
                    await till.post(path, content=body, headers={"content-type": kind} | key()),
                    kind,
                )


async def test_long_addresses(open_api: Instance, shop: Shop) -> None:
    for path in ("/cards/" + "x" * 20_000, "/cards?cursor=" + "x" * 20_000, "/" + "../" * 4000):
        status, answer = await raw(open_api, request(shop, path, b"{}"))
        assert 400 <= status < 500, answer[:300]
        assert shop.secret.encode() not in answer
