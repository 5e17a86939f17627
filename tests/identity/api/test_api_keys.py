"""API keys and their scopes, tokens and registration over HTTP."""

import asyncio
import time
import uuid
from typing import Any

import httpx
import jwt
import pytest

from florin.cards import codes
from florin.identity.scopes import SCOPES
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import Json, issue, made, post, problem, read, spend
from tests.support.instance import Instance, Shop, instance, make_shop

REVOKED_WITHIN_S = 5 + 30  # responses are later on a busy machine


def someone() -> Json:
    return {
        "email": f"{uuid.uuid4().hex}@shop.nl",
        "password": "a password of some length",
        "merchant": {"name": "Shop", "country": "NL", "currency": "EUR"},
    }


@pytest.fixture
def base(api: Instance) -> str:
    return f"{api.base}/api/v1"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer flk_nonsense",
        f"Bearer flk_{'a' * 46}",
        "Bearer a.b.c",
        f"Bearer {'x' * 5000}",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/redemptions"),
        ("POST", "/cards/lookup"),
        ("POST", "/redemptions/batch"),
        ("GET", "/cards"),
        ("POST", "/loads"),
    ],
)
async def test_without_credentials(
    base: str, authorization: str | None, method: str, path: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.request(method, f"{base}{path}", content=b"{")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


NEEDS = (
    ("POST", "/programs", "programs:write"),
    ("GET", "/programs", "programs:read"),
    ("POST", "/cards", "cards:write"),
    ("GET", "/cards", "cards:read"),
    ("POST", "/cards/lookup", "cards:read"),
    ("POST", "/redemptions", "redemptions:write"),
    ("POST", "/redemptions/batch", "redemptions:write"),
    ("GET", "/redemptions", "redemptions:read"),
    ("GET", "/ledger/proof", "reports:read"),
    ("GET", "/ledger/balances", "reports:read"),
    ("GET", "/events", "events:read"),
    ("POST", "/api-keys", "keys:write"),
)


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
async def test_a_key_may_do_what_its_scopes_say(
    base: str, owner: Any, database: Database, method: str, path: str, scope: str
) -> None:
    bodies: dict[str, Any] = {
        "/programs": {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 2},
        "/cards": {"program": f"prg_{'0' * 32}", "amount": 1},
        "/cards/lookup": {"code": "0000-0000-0000-0000"},
        "/redemptions": {"code": codes.make_code(), "amount": 1, "currency": "EUR"},
        "/redemptions/batch": {"redemptions": [{}]},
        "/api-keys": {"name": "k", "scopes": [scope]},
    }
    body = bodies.get(path) if method == "POST" else None
    for scopes, allowed in ((SCOPES - {scope}, False), (frozenset({scope}), True)):
        shop = await make_shop(owner, database, scopes=scopes)
        headers = shop.headers | {"Idempotency-Key": "k"}
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.request(method, f"{base}{path}", json=body)
        if allowed:
            assert answer.status_code not in {401, 403, 422, 500}, answer.text
        else:
            assert scope in problem(answer, 403, "forbidden")["detail"]


async def test_a_key_is_shown_once_and_revoked_everywhere_soon(
    http: httpx.AsyncClient, base: str, urls: Urls
) -> None:
    made_key = await made(http, "/api-keys", {"name": "till", "scopes": ["cards:read"]})
    assert made_key["secret"].startswith("flk_")
    assert made_key["object"] == "api_key"
    shown = await read(http, f"/api-keys/{made_key['id']}")
    assert "secret" not in shown
    assert shown["scopes"] == ["cards:read"]
    bearer = {"authorization": f"Bearer {made_key['secret']}"}
    with instance(urls.app) as second:
        bases = (base, f"{second.base}/api/v1")
        async with httpx.AsyncClient(headers=bearer) as till:
            for each in bases:
                assert (await till.get(f"{each}/cards")).status_code == 200
            assert (await http.delete(f"/api-keys/{made_key['id']}")).json()["revoked_at"]
            until = time.monotonic() + REVOKED_WITHIN_S
            while any([(await till.get(f"{each}/cards")).status_code == 200 for each in bases]):
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
            for each in bases:
                problem(await till.get(f"{each}/cards"), 401, "unauthenticated")
    assert (await http.delete(f"/api-keys/{made_key['id']}")).status_code == 200


async def test_a_key_gives_away_no_more_than_it_has(
    base: str, owner: Any, database: Database
) -> None:
    shop = await make_shop(owner, database, scopes=frozenset({"keys:write", "cards:read"}))
    async with httpx.AsyncClient(base_url=base, headers=shop.headers) as client:
        wanted = {"name": "more", "scopes": ["cards:read", "cards:write"]}
        problem(await client.post("/api-keys", json=wanted), 403, "forbidden")
        wanted["scopes"] = ["cards:everything"]
        answer = await client.post("/api-keys", json=wanted)
        problem(answer, 422, "invalid_request", param="scopes")


async def test_registering_signs_the_owner_in(base: str, shop: Shop) -> None:
    want = someone()
    async with httpx.AsyncClient(base_url=base) as client:
        answer = await client.post("/auth/register", json=want)
        assert answer.status_code == 201, answer.text
        assert answer.headers["florin-consistency"]
        body = answer.json()
        assert body["token_type"] == "Bearer"
        assert body["expires_in"] == 900
        assert body["merchant"]["timezone"] == "UTC"
        assert (body["merchant"]["object"], body["merchant"]["test"]) == ("merchant", False)
        assert (body["user"]["email"], body["user"]["role"]) == (want["email"], "owner")
        bearer = {"authorization": f"Bearer {body['access_token']}"}
        me = (await client.get("/auth/me", headers=bearer)).json()
        assert me["merchant"] == body["merchant"]
        assert me["user"] == body["user"]
        program = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 500}
        answer = await client.post("/programs", json=program, headers=bearer)
        assert answer.status_code == 201
        client.headers.update(bearer)
        card = await issue(client, Shop(shop.merchant, answer.json()["id"], ""), 100)
        spent = await post(client, "/redemptions", spend(card, 100))
        assert spent.status_code == 201
        statement = await read(client, f"/cards/{card['id']}/entries")
        assert {one["actor"] for one in statement["data"]} == {body["user"]["id"]}
        # A refresh token is not accepted as an access token; neither is a modified or unsigned one.
        for token in (body["refresh_token"], f"{body['access_token'][:-2]}xx", _unsigned(body)):
            wrong = {"authorization": f"Bearer {token}"}
            problem(await client.get("/auth/me", headers=wrong), 401, "unauthenticated")


def _unsigned(body: Json) -> str:
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"email": "not-an-address"}, "email"),
        ({"password": "short"}, "password"),
        ({"merchant": {"name": "", "country": "NL", "currency": "EUR"}}, "merchant.name"),
        ({"merchant": {"name": "S", "country": "nl", "currency": "EUR"}}, "merchant.country"),
        ({"merchant": {"name": "S", "country": "ZZ", "currency": "EUR"}}, "merchant.country"),
        ({"merchant": {"name": "S", "country": "NL", "currency": "XYZ"}}, "merchant.currency"),
        (
            {"merchant": {"name": "S", "country": "NL", "currency": "EUR", "timezone": "Mars"}},
            "merchant.timezone",
        ),
        ({"role": "owner"}, "role"),
    ],
)
async def test_registering_with_a_mistake(base: str, change: Json, param: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{base}/auth/register", json=someone() | change)
    problem(answer, 422, "invalid_request", param=param)


async def test_an_address_registers_once(base: str) -> None:
    want = someone()
    async with httpx.AsyncClient(base_url=base) as client:
        answers = await asyncio.gather(
            *(client.post("/auth/register", json=want) for _ in range(4)),
            client.post("/auth/register", json=want | {"email": want["email"].upper()}),
        )
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422, 422]
    for answer in answers:
        if answer.status_code == 422:
            problem(answer, 422, "email_taken", param="email")


async def test_signing_up_may_be_closed(urls: Urls) -> None:
    with instance(urls.app, FLORIN_SIGNUP="closed") as closed:
        async with httpx.AsyncClient(base_url=closed.base) as client:
            answer = await client.post("/api/v1/auth/register", json=someone())
    problem(answer, 403, "signup_closed")
