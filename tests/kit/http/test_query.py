"""Query: every route refuses unknown parameters, and the request has no effect."""

import json
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, issue, key, post, problem, read, spend
from tests.support.hostile_requests import NIL, Books, body_of
from tests.support.instance import Instance, Shop
from tests.support.members import register

# An unknown name, and arguments of handlers, headers, bodies, and fields of bodies.
NAMES = (
    "surprise", "caller", "request", "data", "db", "key", "reads", "created", "simulate", "code",
    "Idempotency-Key", "card_id", "noun_id", "limit ",
)  # fmt: skip
FAST = ("/redemptions", "/redemptions/batch", "/cards/lookup")


async def operations(http: httpx.AsyncClient) -> list[tuple[str, str, Json]]:
    document = await read(http, "/openapi.json")
    return [
        (method.upper(), path.removeprefix("/api/v1"), operation)
        for path, of_path in document["paths"].items()
        for method, operation in of_path.items()
    ]


async def test_every_route_refuses_parameters_it_does_not_know(
    till: httpx.AsyncClient, books: Books
) -> None:
    routes = await operations(till)
    person = await register(till)  # some routes accept signed-in members only
    assert {path for _, path, _ in routes}.issuperset(FAST)
    async with books:
        for method, path, operation in routes:
            here = path
            in_path = {
                each["name"]: "1" if each["schema"].get("type") == "integer" else f"crd_{NIL}"
                for each in operation["parameters"]
                if each.get("in") == "path"
            }
            for name, value in in_path.items():
                here = here.replace(f"{{{name}}}", value)
            for name in (*NAMES, *in_path):
                options: Json = {"params": {name: "1"}}
                answer = await till.request(method, here, **options, headers=key())
                if answer.status_code == 403:
                    headers = person.headers | key()
                    answer = await till.request(method, here, **options, headers=headers)
                refused = problem(answer, 422, "invalid_request", param=name)
                assert "unknown parameter" in refused["detail"], (method, path, name)


async def test_a_query_moves_no_money(till: httpx.AsyncClient, shop: Shop, books: Books) -> None:
    card = await issue(till, shop)
    async with books:
        for path in FAST:
            for query in ("simulate=true", "caller=1", "simulate", "=", "a=1&b=2"):
                body = json.dumps(body_of(path, shop, card))
                answer = await till.post(f"{path}?{query}", content=body, headers=key())
                problem(answer, 422, "invalid_request")
    answer = await till.post("/redemptions?", json=spend(card, 5), headers=key())
    assert answer.status_code == 201, "a question mark alone asks nothing"


async def test_parameters_are_not_checked_without_credentials(open_api: Instance) -> None:
    async with httpx.AsyncClient(base_url=f"{open_api.base}/api/v1") as anonymous:
        for method, path in (("POST", "/redemptions"), ("POST", "/loads"), ("GET", "/cards")):
            answer = await anonymous.request(method, path, params={"surprise": "1"})
            problem(answer, 401, "unauthenticated")


async def test_routes_outside_the_document_refuse_parameters_too(open_api: Instance) -> None:
    async with httpx.AsyncClient(base_url=open_api.base) as anonymous:
        for path in ("/health", "/health/live", "/api/v1/openapi.json", "/api/v1/docs"):
            answer = await anonymous.get(path, params={"request": "1"})
            problem(answer, 422, "invalid_request", param="request")


async def test_a_trailing_slash_is_ignored_everywhere(till: httpx.AsyncClient, shop: Shop) -> None:
    card = await issue(till, shop, 1000)
    bodies: dict[str, Any] = {path: body_of(path, shop, card) for path in (*FAST, "/loads")}
    for path, body in bodies.items():
        plain = await post(till, path, body)
        assert plain.is_success, plain.text
        for slashes in ("/", "//"):
            if path == "/redemptions/batch":
                body["redemptions"][0]["idempotency_key"] = f"corpus{slashes}"
            answer = await post(till, path + slashes, body)
            assert (answer.status_code, set(answer.json())) == (
                plain.status_code,
                set(plain.json()),
            ), path
    assert (await read(till, f"/cards/{card['id']}/"))["id"] == card["id"]
    assert (await read(till, "/cards/"))["object"] == "list"
    problem(await till.post("/redemptions/batch/x", json={}), 404, "not_found")


async def test_an_empty_parameter_of_a_list_counts_as_left_out(
    till: httpx.AsyncClient, shop: Shop
) -> None:
    await issue(till, shop)
    for method, path, operation in await operations(till):
        if method != "GET" or "{" in path or path.endswith(("/stream", "/queues")):
            continue
        names = [
            each["name"]
            for each in operation["parameters"]
            if each.get("in") == "query" and each["name"] != "metadata"
        ]
        if not names or "limit" not in names:
            continue
        plain = await till.get(path)
        if plain.status_code == 403:
            continue  # for signed-in members; its parameters are parsed like all others
        assert plain.status_code == 200, (path, plain.text)
        for query in (dict.fromkeys(names, ""), *({name: ""} for name in names)):
            answer = await till.get(path, params=query)
            assert answer.status_code == 200, (path, query, answer.text)
            assert answer.json() == plain.json(), (path, query)
    answer = await till.get("/ledger/balances", params={"as_of": "", "currency": ""})
    assert answer.json()["currency"] == "EUR"


async def test_an_empty_parameter_of_a_write_is_refused(till: httpx.AsyncClient) -> None:
    """A control total that the client lost must not be treated as omitted."""
    for name in ("count", "amount", "program"):
        answer = await till.post("/cards/import", params={name: ""}, content="x", headers=key())
        problem(answer, 422, "invalid_request", param=name)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/cards", "limit"),
        ("GET", "/programs", "limit"),
        ("POST", "/cards/import", "count"),
        ("POST", "/cards/import", "amount"),
    ],
)
async def test_numbers_are_whole_decimal_numbers(
    till: httpx.AsyncClient, method: str, path: str, name: str
) -> None:
    for text in (
        "75.00", "7.5e1", "1.0", "1e1", "+5", "-5", " 5", "5 ", "1_0", "0x10", "\uff15", "\u0665",
        "5,00", "True", "1" * 20, "5\n",
    ):  # fmt: skip
        answer = await till.request(method, path, params={name: text}, content="x", headers=key())
        refused = problem(answer, 422, "invalid_request", param=name)
        assert "whole number" in refused["detail"], (text, refused)
    answer = await till.get("/cards", params={"limit": "5"})
    assert answer.status_code == 200
