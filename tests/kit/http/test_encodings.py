"""Encodings of bodies: a byte-order mark is ignored; a compressed body is refused."""

import codecs
import gzip
import json

import httpx
import pytest

from tests.support.api_calls import issue, key, problem, read
from tests.support.hostile_requests import BODIES, Books, body_of, send
from tests.support.instance import Instance, Shop

CSV = b"program,amount\n"


@pytest.mark.parametrize("path", [*BODIES, "/cards/import"])
async def test_a_compressed_body_is_refused_with_the_supported_encoding(
    till: httpx.AsyncClient, shop: Shop, books: Books, path: str
) -> None:
    card = await issue(till, shop)
    csv = path == "/cards/import"
    plain = CSV if csv else json.dumps(body_of(path, shop, card)).encode()
    kind = {"content-type": "text/csv" if csv else "application/json"}
    async with books:
        for encoding in ("gzip", "GZIP", "br", "deflate", "identity, gzip", "x"):
            headers = {"content-encoding": encoding, **kind, **key()}
            for content in (gzip.compress(plain), plain):
                answer = await till.post(path, content=content, headers=headers)
                refused = problem(answer, 415, "unsupported_encoding", param="Content-Encoding")
                assert encoding in refused["detail"]
                assert answer.headers["accept-encoding"] == "identity"
        if not csv:
            answer = await send(till, path, gzip.compress(plain))
            refused = problem(answer, 415, "unsupported_encoding")
            assert "gzip" in refused["detail"]


@pytest.mark.parametrize("path", ["/redemptions", "/redemptions/batch", "/cards/lookup", "/loads"])
async def test_a_byte_order_mark_is_ignored(till: httpx.AsyncClient, shop: Shop, path: str) -> None:
    card = await issue(till, shop)
    text = json.dumps(body_of(path, shop, card)).encode()
    headers = {"content-encoding": "identity", **key()}
    plain = await till.post(path, content=text, headers=headers)
    marked = await till.post(path, content=codecs.BOM_UTF8 + text, headers=headers)
    assert plain.is_success, plain.text
    assert (marked.status_code, marked.json().keys()) == (plain.status_code, plain.json().keys())
    if path != "/redemptions/batch":
        assert marked.content == plain.content, "the same request, and under its key a repetition"
    answer = await till.post(path, content=codecs.BOM_UTF8 * 2 + text, headers=key())
    problem(answer, 422, "invalid_request")


async def test_other_encodings_of_text_are_named(till: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(till, shop)
    text = json.dumps(body_of("/loads", shop, card))
    for content in (text.encode("utf-16"), codecs.BOM_UTF16_BE + text.encode("utf-16-be")):
        refused = problem(await send(till, "/loads", content), 422, "invalid_request")
        assert "UTF-8" in refused["detail"]
    assert (await read(till, f"/cards/{card['id']}"))["balance"] == card["balance"]


async def test_a_compressed_body_without_credentials_is_unauthorized(open_api: Instance) -> None:
    async with httpx.AsyncClient(base_url=f"{open_api.base}/api/v1") as anonymous:
        headers = {"content-encoding": "gzip"}
        answer = await anonymous.post("/auth/login", content=gzip.compress(b"{}"), headers=headers)
        problem(answer, 415, "unsupported_encoding", param="Content-Encoding")
