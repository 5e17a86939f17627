"""Messages: each says what is expected and what was given, never a secret or a raw pattern."""

import re
from typing import Annotated, Any, Literal, cast

import httpx
import msgspec
import pytest
from msgspec import Meta

from florin.kit.http.field_errors import field_errors
from tests.support.api_calls import Json, issue, key, post, problem, read, spend
from tests.support.instance import Shop

RAW = re.compile(r"regex|Expected `|\[\^|\^\[|\\\\[sx]|\$'|`(?:int|str|array|object)")


class Inner(msgspec.Struct):
    many: list[Annotated[int, Meta(ge=1)]]
    words: list[Literal["one", "two"]] = []


class Body(msgspec.Struct):
    """A field of each kind that can be invalid."""

    number: Annotated[int, Meta(ge=1, le=5)] = 1
    text: Annotated[str, Meta(min_length=1, max_length=3)] | None = None
    form: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="Three letters.")] = "EUR"
    word: Literal["one", "two"] = "one"
    flag: bool = False
    pin: Annotated[str, Meta(max_length=3)] = ""
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("body", "param", "detail"),
    [
        ('{"number":"5"}', "number", 'must be a whole number, not "5"'),
        ('{"number":7.50}', "number", "must be a whole number, not 7.5"),
        ('{"number":0}', "number", "must be at least 1, not 0"),
        ('{"number":6}', "number", "must be at most 5, not 6"),
        ('{"number":1e400}', "number", "this number is out of range"),
        ('{"text":""}', "text", "must not be empty"),
        ('{"text":"abcd"}', "text", "must have at most 3 characters, not 4"),
        ('{"text":{}}', "text", "must be text or null, not an object"),
        ('{"form":"eur"}', "form", 'expected: Three letters, not "eur"'),
        ('{"form":"flk_abcdefgh"}', "form", "expected: Three letters"),
        ('{"word":"three"}', "word", 'must be one of one, two, not "three"'),
        ('{"flag":"yes"}', "flag", 'must be true or false, not "yes"'),
        ('{"pin":"1234"}', "pin", "must have at most 3 characters"),
        ('{"pin":1234}', "pin", "must be text"),
        ('{"inner":{"many":[1,0]}}', "inner.many[1]", "must be at least 1, not 0"),
        ('{"inner":{"many":[],"words":["x"]}}', "inner.words[0]",
         'must be one of one, two, not "x"'),
        ('{"inner":[]}', "inner", "must be an object or null, not a list"),
        ('{"form":"' + "x" * 99 + '"}', "form",
         f'expected: Three letters, not "{"x" * 40}\u2026"'),
    ],
)  # fmt: skip
def test_an_invalid_field_is_explained(body: str, param: str, detail: str) -> None:
    assert field_errors(Body, body.encode()) == [{"param": param, "detail": detail}]


def no_raw(answer: httpx.Response) -> Json:
    refused = problem(answer, 422, "invalid_request")
    for each in (refused, *refused.get("errors", ())):
        assert not RAW.search(each["detail"]), each
    return refused


async def test_no_route_shows_a_raw_pattern_or_type(http: httpx.AsyncClient) -> None:
    """Every field of every body gets a value of the wrong type."""
    document = await read(http, "/openapi.json")
    schemas = document["components"]["schemas"]
    seen = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or "/auth/" in path:
                continue
            schema: Json = content["schema"]
            schema = next((each for each in schema.get("anyOf", ()) if "$ref" in each), schema)
            names = schemas[schema["$ref"].rpartition("/")[2]]["properties"]
            address = re.sub(r"\{\w+\}", "x", path.removeprefix("/api/v1"))
            for value in ("!", "", 0, -5, 2.5, [], {}, ["!"], {"x": 1}, True, "x" * 2000):
                body = dict.fromkeys(names, value)
                answer = await http.request(method.upper(), address, json=body, headers=key())
                if answer.status_code == 422 and answer.json()["code"] == "invalid_request":
                    no_raw(answer)
                    seen += 1
    assert seen > 100


async def test_every_pattern_is_described(http: httpx.AsyncClient) -> None:
    def walk(shape: Any, path: str) -> None:
        if isinstance(shape, dict):
            within = cast("Json", shape)
            if isinstance(within.get("pattern"), str):
                assert within.get("description"), path
            for name, each in within.items():
                walk(each, f"{path}.{name}")
        elif isinstance(shape, list):
            for each in cast("list[Any]", shape):
                walk(each, path)

    walk((await read(http, "/openapi.json"))["components"]["schemas"], "schemas")


async def test_parameters_are_explained_as_fields_are(http: httpx.AsyncClient) -> None:
    for path, query, param, detail in (
        ("/cards", {"limit": "0"}, "limit", "at least 1, not 0"),
        ("/cards", {"limit": "101"}, "limit", "at most 100, not 101"),
        ("/cards", {"state": "gone"}, "state", 'pending, active, blocked, expired, closed, not "g'),
        ("/entries", {"kind": "x"}, "kind", "issue, activate"),
        ("/ledger/balances", {"currency": "eur"}, "currency", "such as EUR, not"),
        ("/redemptions", {"reference": "x" * 256}, "reference", "at most 255 characters, not 256"),
    ):
        refused = no_raw(await http.get(path, params=query))
        assert refused["param"] == param
        assert detail in refused["detail"], refused


async def test_an_unknown_currency_has_no_balance(http: httpx.AsyncClient) -> None:
    for currency in ("GPB", "XAU", "AAA"):
        answer = await http.get("/ledger/balances", params={"currency": currency})
        refused = problem(answer, 422, "invalid_request", param="currency")
        assert currency in refused["detail"]
        assert "EUR" in refused["detail"]


async def test_a_secret_is_not_repeated(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(http, shop)
    for name, secret in (
        ("code", ["M4H0 secret"]), ("pin", 482913), ("currency", card["code"]),
        ("reference", [shop.secret]),
    ):  # fmt: skip
        body = {**spend(card, 1), name: secret}
        answer = await post(http, "/redemptions", body)
        problem(answer, 422, "invalid_request", param=name)
        for text in ("M4H0 secret", "482913", card["code"], shop.secret):
            assert text not in answer.text
