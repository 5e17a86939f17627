"""Hostile bodies: an invalid body is refused with its field, at routes of each kind."""

import json
import re

import httpx
import pytest

from florin.kit import plain_text
from tests.support.api_calls import balanced, issue, post, read
from tests.support.hostile_requests import (
    BODIES,
    BYTES,
    DEEP,
    MEANT,
    NIL,
    NUMBERS,
    SQL,
    TEXT,
    Books,
    body_of,
    refused,
    send,
)
from tests.support.instance import Shop


@pytest.mark.parametrize("path", BODIES)
async def test_invalid_bodies_are_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books, path: str
) -> None:
    card = await issue(till, shop)
    whole = json.dumps(body_of(path, shop, card))
    async with books:
        for body in (*BYTES, *(deep.encode() for deep in DEEP)):
            refused(await send(till, path, body), body, shop.secret, card["code"])
        for deep in DEEP[:2]:  # in addition to the valid fields
            refused(await send(till, path, f'{whole[:-1]},"extra":{deep}}}'), deep)
        for text in ('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x41"'):
            name = next(iter(body_of(path, shop, card)))
            refused(await send(till, path, f'{{"{name}":{text}}}'), text)
        for what in (whole.encode("utf-16"), whole.encode("utf-32"), whole[:-1].encode()):
            refused(await send(till, path, what), what)


@pytest.mark.parametrize("path", BODIES)
async def test_a_field_given_twice_is_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books, path: str
) -> None:
    """JSON parsers differ in which of two values they take, so Florin takes neither."""
    card = await issue(till, shop)
    body = body_of(path, shop, card)
    async with books:
        for name, value in body.items():
            for again in (name, f"\\u{ord(name[0]):04x}{name[1:]}"):
                text = f'{json.dumps(body)[:-1]},"{again}":{json.dumps(value)}}}'
                answer = await send(till, path, text)
                refused(answer, text, shop.secret, card["code"])
                assert (answer.status_code, answer.json()["param"]) == (422, name)


async def test_items_that_are_not_json_are_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books
) -> None:
    """The items of a batch are parsed later, one by one."""
    async with books:
        for item in ('{"a":"\n"}', "5.", '"\\x"', "05", '"\\ud800"', *DEEP, "\xff"):
            text = f'{{"redemptions":[{item}]}}'.encode("latin-1")
            answer = await send(till, "/redemptions/batch", text)
            if answer.status_code == 200:
                (line,) = answer.json()["data"]
                assert line["status"] == 422, item
            else:
                refused(answer, item, shop.secret)


async def test_a_nested_field_given_twice_is_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books
) -> None:
    card = await issue(till, shop)
    twice = '{"a":"1","a":"2"}'
    spend = json.dumps(body_of("/redemptions", shop, card))[:-1]
    item = f'{spend},"idempotency_key":"k","amount":7}}'
    async with books:
        for path in ("/redemptions", "/holds"):
            text = f'{spend},"metadata":{twice}}}'
            refused(await send(till, path, text), text)
        answer = await send(till, "/redemptions/batch", f'{{"redemptions":[{item}]}}')
        (line,) = answer.json()["data"]
        assert (line["status"], line["problem"]["param"]) == (422, "amount")


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, "amount") for path in BODIES[:10] if path not in BODIES[1:3] and path != "/programs"]
    + [("/programs", "min_amount"), ("/holds", "expires_in"), ("/redemptions/batch", "")],
)
async def test_numbers(
    till: httpx.AsyncClient, shop: Shop, books: Books, path: str, name: str
) -> None:
    card = await issue(till, shop)
    async with books:
        for number in NUMBERS:
            if name:
                body = {**body_of(path, shop, card), name: "NUMBER"}
                text = json.dumps(body).replace('"NUMBER"', number)
            else:
                text = f'{{"redemptions":{number}}}'
            if (path, number) in MEANT:
                continue
            answer = await send(till, path, text)
            refused(answer, text, shop.secret, card["code"])
            assert answer.status_code == 422, (number, answer.text)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *(("/redemptions", each) for each in ("card", "code", "currency", "amount")),
        *(("/holds", each) for each in ("card", "currency", "expires_in")),
        ("/cards/lookup", "code"), ("/cards", "program"), ("/loads", "card"),
        ("/refunds", "redemption"), ("/transfers", "to"), ("/transfers", "from"),
        ("/adjustments", "card"), ("/programs", "currency"), ("/auth/login", "email"),
        ("/auth/login", "password"), ("/api-keys", "scopes"),
    ],
)  # fmt: skip
async def test_text_in_the_place_of_an_id_is_refused(
    till: httpx.AsyncClient, shop: Shop, books: Books, path: str, name: str
) -> None:
    card = await issue(till, shop)
    texts = (*SQL, *TEXT, card["id"] + "\r\n", card["id"].upper(), f"crd_{NIL}")
    if path == "/auth/login":
        texts = (*SQL[:3], *TEXT[:3])  # each costs a password hash
    async with books:
        for text in texts:
            body = {**body_of(path, shop, card), name: text}
            if name == "code" and path == "/redemptions":
                del body["card"]
            refused(await send(till, path, json.dumps(body)), text, shop.secret, card["code"])


async def test_free_text_is_kept_as_it_is(till: httpx.AsyncClient, shop: Shop) -> None:
    """A reference is plain text and is stored trimmed; a metadata value is stored as sent."""
    card = await issue(till, shop, 1000)
    plain = value = 0
    for text in (*SQL, *(each for each in TEXT if 0 < len(each) <= 255)):
        reference = {"reference": text} if re.search(plain_text.PATTERN, text) else {}
        metadata = {"metadata": {"a": text}} if re.search(plain_text.VALUE_PATTERN, text) else {}
        plain, value = plain + bool(reference), value + bool(metadata)
        body = {**body_of("/redemptions", shop, card), "amount": 1, **reference, **metadata}
        spent = (await post(till, "/redemptions", body)).json()
        found = await read(till, f"/redemptions/{spent['id']}")
        assert found["reference"] == (text.strip() if reference else None)
        assert found["metadata"] == metadata.get("metadata", {})
        for field, fits in (("reference", reference), ("metadata", metadata)):
            if not fits:
                wrong = {**body, field: text if field == "reference" else {"a": text}}
                assert (await post(till, "/redemptions", wrong)).status_code == 422
    assert plain > len(SQL)
    assert value > plain
    await balanced(till)
