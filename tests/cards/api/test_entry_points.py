"""Entry points: a fast route and the documented handler of the same route answer alike."""

import gzip
import json
import warnings
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Any, cast

import httpx
import pytest

from florin.identity.scopes import SCOPES
from florin.kit.postgres.database import Database
from florin.kit.settings import read_settings
from tests.conftest import Urls
from tests.support.api_calls import Json, issue, key, spend
from tests.support.instance import SECRETS, Shop, make_shop

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, while it is imported
    florin_app: Any = import_module("florin.app")
    services: Any = import_module("florin.services")

REDEEM, BATCH, LOOK_UP = "/redemptions", "/redemptions/batch", "/cards/lookup"
EURO: Json = {"amount": 1, "currency": "EUR"}
NEW = {"id", "created_at", "issued_at", "request_id"}  # fields that differ between any two requests
# The server adds length and date; tokens differ between any two requests.
OWN_HEADERS = {"x-request-id", "florin-consistency", "content-length"}


@pytest.fixture(scope="module")
async def apps(urls: Urls) -> AsyncGenerator[list[Any]]:
    """The application with and without fast routes, on one set of services."""
    settings = read_settings({"DATABASE_URL": urls.app, "FLORIN_ENV": "test", **SECRETS})
    parts = services.ApiServices(settings)
    await parts.open()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield [florin_app.create_app(settings, parts, fast=fast) for fast in (True, False)]
    finally:
        await parts.close()


def client_of(app: Any, shop: Shop) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    base = "http://florin.test/api/v1"
    return httpx.AsyncClient(transport=transport, base_url=base, headers=shop.headers)


class EntryPoints:
    """Both entry points on the same services, each with a card of its own."""

    def __init__(self, fast: httpx.AsyncClient, documented: httpx.AsyncClient) -> None:
        self.fast = fast
        self.documented = documented
        self.cards: list[Json] = []

    async def answers(
        self, path: str, body: Any, headers: dict[str, str] | None = None, **options: Any
    ) -> list[httpx.Response]:
        """The answers to one request. `{card}`, `{code}` and `{n}` in its body and headers are the
        card, its code and the number of the entry point.
        """
        found: list[httpx.Response] = []
        for n, client in enumerate((self.fast, self.documented)):
            text = json.dumps(body) if isinstance(body, (dict, list)) else body
            own = {name: self._filled(value, n) for name, value in (headers or {}).items()}
            content = self._filled(text, n) if isinstance(text, str) else text
            found.append(await client.post(path, content=content, headers=own, **options))
        return found

    def _filled(self, text: str, n: int) -> str:
        card = self.cards[n]
        values = {"{card}": card["id"], "{code}": card["code"], "{n}": str(n)}
        for name, value in values.items():
            text = text.replace(name, value)
        return text


@pytest.fixture
async def entry_points(apps: list[Any], shop: Shop) -> AsyncGenerator[EntryPoints]:
    fast, documented = (client_of(app, shop) for app in apps)
    async with fast, documented:
        made = EntryPoints(fast, documented)
        made.cards = [await issue(fast, shop), await issue(documented, shop)]
        yield made


def comparable(value: Any) -> Any:
    """A document without what differs between any two requests and between the two cards."""
    if isinstance(value, dict):
        document = cast("Json", value)
        left_out = NEW | {"card", "last4", "expires_at"}
        return {name: comparable(each) for name, each in document.items() if name not in left_out}
    if isinstance(value, list):
        return [comparable(each) for each in cast("list[Any]", value)]
    return value


def check_alike(answers: list[httpx.Response]) -> None:
    fast, documented = answers
    assert fast.status_code == documented.status_code, (fast.text, documented.text)
    assert comparable(fast.json()) == comparable(documented.json())
    assert list(fast.json()) == list(documented.json())  # the fields in the same order
    headers = [
        {name: value for name, value in each.headers.items() if name not in OWN_HEADERS}
        for each in answers
    ]
    assert headers[0] == headers[1]
    assert ("florin-consistency" in fast.headers) == ("florin-consistency" in documented.headers)


ITEMS: list[Any] = [
    {"card": "{card}", **EURO, "idempotency_key": "first {n}"},
    {"card": "{card}", **EURO, "idempotency_key": "first {n}"},
    {"card": "{card}", **EURO},
    {"card": "{card}", **EURO, "simulate": True},
    {"code": "{code}", **EURO, "idempotency_key": "by code {n}"},
    {"card": "{card}", "amount": 10_000, "currency": "EUR", "idempotency_key": "too much {n}"},
    {"card": "{card}", "amount": "1", "surprise": 1},
    {"reference": "x" * 140_000},
    7,
]
ACCEPTED: list[tuple[str, Any, int]] = [
    (REDEEM, {"card": "{card}", **EURO}, 201),
    (REDEEM, {"code": "{code}", **EURO, "reference": "r", "metadata": {"a": "b"}}, 201),
    (REDEEM, {"card": "{card}", **EURO, "simulate": True}, 200),
    (REDEEM, {"card": "{card}", "amount": 5000, "currency": "EUR", "allow_remainder": True}, 201),
    (LOOK_UP, {"code": "{code}"}, 200),
    (BATCH, {"redemptions": ITEMS}, 200),
]


@pytest.mark.parametrize(("path", "body", "status"), ACCEPTED)
async def test_both_entry_points_answer_alike(
    entry_points: EntryPoints, path: str, body: Any, status: int
) -> None:
    for replayed in (False, True):
        headers = {"Idempotency-Key": "key {n}"} if path == REDEEM else {}
        answers = await entry_points.answers(path, body, headers)
        assert answers[0].status_code == status, answers[0].text
        check_alike(answers)
        if path == REDEEM and status == 201:
            assert (answers[0].headers.get("idempotency-replayed") == "true") is replayed


REFUSED: list[tuple[str, Any, Json, int]] = [
    *((path, {}, {"headers": {"authorization": ""}}, 401) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, {}, {"params": {"simulate": "true"}}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, "{", {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, "", {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, b"\xff", {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, gzip.compress(b"{}", mtime=0), {}, 415) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, {"surprise": 1}, {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, '{"code":"1","code":"2"}', {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    *((path, "[" * 100_000, {}, 422) for path in (REDEEM, BATCH, LOOK_UP)),
    (REDEEM, " " * 300_000, {}, 413),
    (LOOK_UP, " " * 300_000, {}, 413),
    (BATCH, " " * 1_100_000, {}, 413),
    (BATCH, {"redemptions": []}, {}, 422),
    (BATCH, {"redemptions": {}}, {}, 422),
    (BATCH, {"redemptions": [7] * 1001}, {}, 422),
    (REDEEM, {"card": "{card}", **EURO}, {}, 400),
    (REDEEM, {"card": "{card}", **EURO}, {"headers": {"idempotency-key": "x" * 300}}, 422),
    (REDEEM, {"card": "{card}", **EURO, "code": "1"}, {"headers": key()}, 422),
    (REDEEM, {"card": "{card}", "amount": 1001, "currency": "EUR"}, {"headers": key()}, 402),
    (REDEEM, {"code": "nonsense", **EURO}, {"headers": key()}, 422),
    (LOOK_UP, {"code": "nonsense"}, {}, 422),
    *(
        (path, body, {"headers": key() | {"florin-client-ip": "somewhere"}}, 422)
        for path, body in ((REDEEM, {"card": "{card}", **EURO}), (LOOK_UP, {"code": "{code}"}))
    ),
    (BATCH, {"redemptions": [7]}, {"headers": {"florin-client-ip": "somewhere"}}, 422),
]


@pytest.mark.parametrize(("path", "body", "options", "status"), REFUSED)
async def test_both_entry_points_refuse_alike(
    entry_points: EntryPoints, path: str, body: Any, options: Json, status: int
) -> None:
    answers = await entry_points.answers(path, body, **options)
    check_alike(answers)
    assert answers[0].status_code == status, answers[0].text


@pytest.mark.parametrize("path", [REDEEM, BATCH, LOOK_UP])
async def test_both_entry_points_need_the_same_scope(
    entry_points: EntryPoints, owner: Any, database: Database, path: str
) -> None:
    scope = "cards:read" if path == LOOK_UP else "redemptions:write"
    other = await make_shop(owner, database, scopes=SCOPES - {scope, "clients:name"})
    answers = await entry_points.answers(path, {"surprise": 1}, headers=other.headers)
    check_alike(answers)
    assert answers[0].status_code == 403, answers[0].text


async def test_a_redemption_is_replayed_by_the_other_entry_point(entry_points: EntryPoints) -> None:
    body = spend(entry_points.cards[0], 1)
    for first, second in (
        (entry_points.fast, entry_points.documented),
        (entry_points.documented, entry_points.fast),
    ):
        header = key()
        made = await first.post(REDEEM, json=body, headers=header)
        again = await second.post(REDEEM, json=body, headers=header)
        assert (made.status_code, again.status_code) == (201, 201)
        assert made.json() == again.json()
        assert "idempotency-replayed" not in made.headers
        assert again.headers["idempotency-replayed"] == "true"
