"""Page merchant: a merchant with many cards, a person who signed in, and the pages to ask for."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from florin.bench.environment.aged_dataset import aged_dataset_space_mb, make_aged_dataset
from florin.bench.environment.dataset import Dataset, card_id
from florin.bench.environment.servers import BenchServers
from florin.kit import ids
from florin.ops.postgres import server as postgres
from florin.ops.system.console import OperatorError, timed

API = "/api/v1"
SLUG = "bench"
# Pages that are the same for everyone, and come from a cache in front.
PUBLIC = frozenset(("shop", "shop, a program", "shop, balance"))
_EMAIL, _PASSWORD = "owner@bench.example", secrets.token_urlsafe(18)
_LISTS = (
    "programs", "orders", "disputes", "deliveries", "webhooks", "gateways", "reports", "members",
    "keys", "audit", "settings",
)  # fmt: skip
_PEOPLE_KB = 1  # of a card's recipient and its indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMerchant:
    """`pages`: the path of each page by its name."""

    merchant: UUID
    pages: dict[str, str]


def aged_space_mb(cards: int) -> int:
    return aged_dataset_space_mb(cards) + cards * _PEOPLE_KB // 1000


async def make_page_merchant(
    bench: BenchServers, person: httpx.AsyncClient, cards: int
) -> PageMerchant:
    """Register a merchant, give it the cards, and sign `person` in."""
    merchant = await _register(person)
    dataset = await make_aged_dataset(
        bench, cards=cards, database=postgres.DATABASE, owner=merchant, people=True
    )
    await _finish(bench, dataset)
    entered = await person.post("/sign-in", data={"email": _EMAIL, "password": _PASSWORD})
    _require(entered, 303)
    return PageMerchant(merchant=merchant, pages=await _pages(person, dataset, cards))


async def _register(person: httpx.AsyncClient) -> UUID:
    merchant = {"name": "Bench", "country": "NL", "currency": "EUR", "timezone": "UTC"}
    body = {"email": _EMAIL, "password": _PASSWORD, "merchant": merchant}
    made = _require(await person.post(f"{API}/auth/register", json=body), 201).json()
    found = ids.parse_id("mer", made["merchant"]["id"])
    assert found is not None
    return found


async def _finish(bench: BenchServers, dataset: Dataset) -> None:
    admin = await bench.admin(dataset.database)
    try:
        with timed("Vacuum"):
            await admin.execute(
                "insert into florin.branding (merchant, slug) values ($1, $2)",
                dataset.merchant,
                SLUG,
            )
            await admin.execute("vacuum analyze")  # as autovacuum does within minutes
    finally:
        await admin.close()


async def _pages(person: httpx.AsyncClient, dataset: Dataset, cards: int) -> dict[str, str]:
    """Sell one card more, so that there is a card's page and an order's; return all paths."""
    program = ids.show_id("prg", dataset.program)
    card = await _made(person, dataset, "/cards", {
        "program": program, "amount": 5000, "deliver": {"channel": "link"},
    })  # fmt: skip
    order = await _made(person, dataset, "/orders", {
        "items": [{"program": program, "amount": 5000}],
        "buyer": {"email": "buyer@bench.example"}, "gateway": "test",
    })  # fmt: skip
    _require(await person.post(order["pay_url"], data={"outcome": "paid"}), 303)
    token = card["url"].rpartition("/")[2]
    return {
        "shop": f"/s/{SLUG}",
        "shop, a program": f"/s/{SLUG}/{program}",
        "shop, balance": f"/s/{SLUG}/balance",
        "sign-in": "/sign-in",
        "card": f"/c/{token}",
        "card at the till": f"/c/{token}/till",
        "card, top-up": f"/c/{token}/top-up",
        "order": f"/o/{order['url'].rpartition('/')[2]}",
        "till": "/till",
        "till, sell": "/till/sell",
        "till, shift": "/till/shift",
        "a program": f"/console/programs/{program}",
        "an order": f"/console/orders/{order['id']}",
        **_console_pages(cards, card["last4"]),
    }


def _console_pages(cards: int, last4: str) -> dict[str, str]:
    some = card_id(cards // 2 + 1)
    card, person = ids.show_id("crd", some), str(some)[-12:]
    return {
        "overview": "/console",
        "cards": "/console/cards",
        "cards, active": "/console/cards?state=active",
        "cards, older": f"/console/cards?after={card}",
        "cards by last four": f"/console/cards?q={last4}",
        "cards by address": f"/console/cards?q={person}%40people.example",
        "cards by an unknown name": "/console/cards?q=No+Such+Person",
        "a card": f"/console/cards/{card}",
        "account": "/account",
        **{name: f"/console/{name}" for name in _LISTS},
        "reports, locations": "/console/reports/locations",
        "reports, gateways": "/console/reports/gateway",
        "reports, breakage": "/console/reports/breakage",
        "reports, proof": "/console/reports/proof",
    }


async def _made(person: httpx.AsyncClient, dataset: Dataset, path: str, body: Any) -> Any:
    headers = {
        "authorization": f"Bearer {dataset.secret}",
        "idempotency-key": f"bench{path.replace('/', '-')}",
    }
    return _require(await person.post(f"{API}{path}", json=body, headers=headers), 201).json()


def _require(answer: httpx.Response, status: int) -> httpx.Response:
    """Raises OperatorError."""
    if answer.status_code != status:
        raise OperatorError(f"{answer.url.path} answered {answer.status_code}: {answer.text[:300]}")
    return answer
