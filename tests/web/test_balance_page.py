"""Balance page: the balance for a code and its PIN; no answer says which part was wrong."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from florin.web.customer.balance import REFUSED_AFTER_S, slug_of
from tests.conftest import Urls
from tests.support.api_calls import issue, made, post, redeem
from tests.support.instance import NO_TLS, Instance, Shop, instance, make_shop
from tests.support.page_client import page_client

UNKNOWN = "0000-0000-0000-0000"
PIN_RULES = {"name": "PIN", "currency": "EUR", "min_amount": 1, "max_amount": 10_000, "pin": True}


@pytest.fixture(scope="module")
def limited(urls: Urls) -> Iterator[Instance]:
    """An instance behind a proxy, with small limits."""
    settings = {
        "FLORIN_TRUSTED_PROXIES": "127.0.0.0/8",
        "FLORIN_GUESSES_PER_ADDRESS": "6",
        "FLORIN_GUESSES_PER_PREFIX": "0",
    }
    with instance(f"{urls.app}?connection_limit=5", **settings) as running:
        yield running


@pytest.fixture
async def slug(owner: Any, shop: Shop) -> str:
    made_slug = f"shop-{shop.merchant.hex[-12:]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, $2)", shop.merchant, made_slug
    )
    return made_slug


async def ask(
    client: httpx.AsyncClient, slug: str, code: str, pin: str = "", **query: str
) -> httpx.Response:
    sent = {"code": code, "pin": pin}
    return await client.post(f"/s/{slug}/balance", data=sent, params=query)


async def with_pin(http: httpx.AsyncClient) -> dict[str, Any]:
    program = await made(http, "/programs", PIN_RULES)
    return await made(http, "/cards", {"program": program["id"], "amount": 5000})


def wrong(pin: str, by: int = 1) -> str:
    return f"{(int(pin) + by) % 1_000_000:06}"


def without_code(answer: httpx.Response) -> str:
    """The page without what was typed."""
    return re.sub(r'id="code"[^>]* value="[^"]*"|<details class="more" open>', "", answer.text)


async def test_a_code_shows_its_balance_and_expiry(
    api: Instance, http: httpx.AsyncClient, shop: Shop, slug: str
) -> None:
    card = await issue(http, shop, 5000, recipient={"name": "Tomás", "email": "t@home.example"})
    await redeem(http, card, 1250)
    async with page_client(api) as client:
        form = await client.get(f"/s/{slug}/balance")
        assert form.headers["cache-control"].startswith("public, max-age=")
        shown = await ask(client, slug, card["code"].lower().replace("-", " "))
        assert shown.status_code == 200
        assert shown.headers["cache-control"] == "no-store"
        assert "€37" in shown.text
        assert card["last4"] in shown.text
        assert "valid until the end of" in shown.text
        assert "Tomás" not in shown.text
        assert card["code"] not in shown.text
        german = await ask(client, slug, card["code"], lang="de")
        assert "Einsatzbereit" in german.text
        typo = await ask(
            client, slug, card["code"][:-1] + ("0" if card["code"][-1] != "0" else "1")
        )
        assert typo.status_code == 422
        assert "One character is wrong" in typo.text
        hostile = await ask(client, slug, '"><script>window.broken=1</script>')
        assert "<script>window" not in hostile.text


async def test_a_wrong_code_and_a_wrong_pin_have_one_answer(
    api: Instance, http: httpx.AsyncClient, shop: Shop, slug: str
) -> None:
    card = await with_pin(http)
    other = await issue(http, shop)
    async with page_client(api) as client:
        answers = [
            await ask(client, slug, UNKNOWN, "123456"),
            await ask(client, slug, UNKNOWN),
            await ask(client, slug, card["code"], wrong(card["pin"])),
            await ask(client, slug, card["code"]),
        ]
        assert [answer.status_code for answer in answers] == [404] * 4
        assert len({without_code(answer) for answer in answers}) == 1
        assert min(each.elapsed.total_seconds() for each in answers) >= REFUSED_AFTER_S
        shown = await ask(client, slug, card["code"], card["pin"])
        assert "€50" in shown.text
        malformed = await ask(client, slug, card["code"], "12")
        assert malformed.status_code == 422
        assert "This is not a PIN" in malformed.text
        # A card without a PIN does not ask for one, and does not mind one.
        for pin in ("", "123456"):
            assert (await ask(client, slug, other["code"], pin)).status_code == 200
    async with httpx.AsyncClient(base_url=api.base, verify=NO_TLS) as client:
        refused = await ask(client, slug, UNKNOWN)
        assert "no-store" in refused.headers["cache-control"]


async def test_five_wrong_pins_lock_it_here_and_at_the_till(
    api: Instance, http: httpx.AsyncClient, slug: str
) -> None:
    card = await with_pin(http)
    async with page_client(api) as client:
        for n in range(1, 6):
            assert (await ask(client, slug, card["code"], wrong(card["pin"], n))).status_code == 404
        assert (await ask(client, slug, card["code"], card["pin"])).status_code == 404
    spent = {"code": card["code"], "pin": card["pin"], "amount": 1, "currency": "EUR"}
    answer = await post(http, "/redemptions", spent)
    assert answer.json()["code"] == "pin_locked"


@pytest.mark.parametrize("right_code", [False, True])
async def test_wrong_codes_and_wrong_pins_are_limited_alike(
    limited: Instance, http: httpx.AsyncClient, shop: Shop, slug: str, right_code: bool
) -> None:
    card = await with_pin(http)
    fine = await issue(http, shop)
    code = card["code"] if right_code else UNKNOWN
    async with page_client(limited, **{"x-forwarded-for": "203.0.113.7"}) as client:
        answers = [await ask(client, slug, code) for _ in range(8)]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [404] * 6 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0
        assert "Too many attempts" in answers[-1].text
        assert (await ask(client, slug, fine["code"])).status_code == 429
        client.headers["x-forwarded-for"] = "198.51.100.7"
        assert (await ask(client, slug, fine["code"])).status_code == 200


async def test_one_visitor_locks_no_other_out(
    urls: Urls, http: httpx.AsyncClient, shop: Shop, slug: str
) -> None:
    """All visitors of the page are one principal, whose limit must not be theirs."""
    settings = {
        "FLORIN_TRUSTED_PROXIES": "127.0.0.0/8",
        "FLORIN_GUESSES_PER_ADDRESS": "6",
        "FLORIN_GUESSES_PER_PRINCIPAL": "6",
        "FLORIN_GUESSES_PER_PREFIX": "0",
    }
    fine = await issue(http, shop)
    with instance(f"{urls.app}?connection_limit=5", **settings) as running:
        async with page_client(running, **{"x-forwarded-for": "203.0.113.7"}) as client:
            for _ in range(7):
                await ask(client, slug, UNKNOWN)
            client.headers["x-forwarded-for"] = "198.51.100.7"
            assert (await ask(client, slug, fine["code"])).status_code == 200


async def test_a_code_of_another_merchant_is_unknown(
    api: Instance, owner: Any, database: Database, slug: str
) -> None:
    other = await make_shop(owner, database)
    async with httpx.AsyncClient(
        base_url=f"{api.base}/api/v1", headers=other.headers, verify=NO_TLS
    ) as client:
        card = await issue(client, other)
    async with page_client(api) as client:
        answer = await ask(client, slug, card["code"])
        assert answer.status_code == 404


async def test_codes_of_another_system_are_read_where_they_are_imported(
    api: Instance, http: httpx.AsyncClient, slug: str
) -> None:
    rules = {**PIN_RULES, "pin": False, "name": "Old", "imported_codes": True}
    await made(http, "/programs", rules)
    async with page_client(api) as client:
        form = await client.get(f"/s/{slug}/balance?lang=en")
        assert "data-code" not in form.text
        assert (await ask(client, slug, "GIFT-2024-77")).status_code == 404


async def test_the_page_without_a_shop_leads_to_one(api: Instance, owner: Any, slug: str) -> None:
    other = f"{slug}-2"
    await owner.execute("delete from florin.branding where slug <> $1", slug)
    async with page_client(api) as client:
        only = await client.get("/balance?lang=de")
        assert (only.status_code, only.headers["location"]) == (303, f"/s/{slug}/balance?lang=de")
        await owner.execute(
            "insert into florin.branding (merchant, slug)"
            " select id, $1 from florin.merchant where not exists (select from florin.branding b"
            " where b.merchant = merchant.id) limit 1",
            other,
        )
        asked = await client.get("/balance")
        assert asked.status_code == 200
        assert slug not in asked.text  # which shops there are is not listed
        for typed in (other, f"https://cards.example/s/{other}/balance", f"/s/{other}"):
            found = await client.get("/balance", params={"shop": typed})
            assert found.headers["location"] == f"/s/{other}/balance"
        unknown = await client.get("/balance", params={"shop": "//evil.example/"})
        assert unknown.status_code == 404
        assert "location" not in unknown.headers


@pytest.mark.parametrize(
    ("typed", "slug"),
    [
        ("Harbour-Rye", "harbour-rye"),
        ("/s/a-b/prg_1", "a-b"),
        ("https://x.example/", ""),
        ("a\0b", ""),
        ("", ""),
    ],
)
def test_a_slug_is_found_in_what_was_typed(typed: str, slug: str) -> None:
    assert slug_of(typed) == slug
