"""Balanced pages: a person's journey survives the SIGKILL of either of two instances behind the
balancer, in the middle of what it asked for: a sign-in, a sale, a redemption, a purchase.
"""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.support.api_calls import made, read
from tests.support.instance import NO_TLS
from tests.support.members import PASSWORD, client_of, register, uuid_of
from tests.support.page_client import SAME_ORIGIN, hidden_fields
from tests.support.page_fleet import PageFleet, page_fleet, press

PROGRAM = {"name": "Card", "currency": "EUR", "min_amount": 500, "max_amount": 50_000}
GIFT = {"amount": "5000", "way": "print", "to": "Tomás", "from": "Aoife", "when": "now"}
PRESSES = 4  # of one form at the same time: some reach either instance


@pytest.mark.long_form("pages")
@pytest.mark.parametrize(
    ("at_sale", "at_redemption", "at_payment"),
    [
        pytest.param("a", "b", "", id="one-after-the-other"),
        pytest.param("b", "b", "b", id="always-b"),
        pytest.param("a", "a", "a", id="always-a"),
        pytest.param("b", "a", "b", id="in-turns"),
    ],
)
async def test_a_journey_survives_the_kill_of_either_instance(
    urls: Urls, owner: Any, tmp_path: Path, at_sale: str, at_redemption: str, at_payment: str
) -> None:
    async with page_fleet(urls, tmp_path) as fleet:
        some = next(iter(fleet.instances.values()))
        async with client_of(some) as anonymous:
            boss = await register(anonymous)
        async with client_of(some, **boss.headers) as http:
            program = (await made(http, "/programs", PROGRAM))["id"]
            await made_shop(owner, boss.tokens["merchant"]["id"])
        async with visitor(fleet) as till, visitor(fleet) as customer:
            entered = await press(till, "/sign-in", {"email": boss.email, "password": PASSWORD})
            assert entered.status_code == 303, entered.text
            code = await sell(fleet, owner, till, program, at_sale)
            # The cookie was made by either; each answers alone as long as the other is dead.
            assert (await press(till, "/console")).status_code == 200
            await back(fleet, at_sale)
            await take(fleet, owner, till, code, at_redemption)
            shift = await press(till, "/till/shift")
            assert "10.00" in shift.text
            await back(fleet, at_redemption)
            await buy(fleet, owner, customer, program, at_payment)
            await back(fleet, at_payment)
            await require_once(fleet, boss.headers, code)


async def made_shop(owner: Any, merchant: str) -> None:
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, 'harbour-rye')",
        uuid_of("mer", merchant),
    )


def visitor(fleet: PageFleet) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=fleet.base, headers=SAME_ORIGIN, timeout=60, verify=NO_TLS)


async def back(fleet: PageFleet, name: str) -> None:
    if name:
        await fleet.restart(name)


async def together(
    fleet: PageFleet,
    owner: Any,
    victim: str,
    person: httpx.AsyncClient,
    path: str,
    form: dict[str, str],
) -> list[httpx.Response]:
    """Press a button several times, and kill the victim meanwhile."""
    presses = [press(person, path, form) for _ in range(PRESSES)]
    if not victim:
        return [await each for each in presses]
    return await fleet.kill_amid(victim, owner, *presses)


async def sell(
    fleet: PageFleet, owner: Any, till: httpx.AsyncClient, program: str, victim: str
) -> str:
    """Sell a card at the till; return its code."""
    form = hidden_fields((await press(till, "/till/sell")).text)
    form |= {"program": program, "amount": "25.00", "how": "print"}
    answers = await together(fleet, owner, victim, till, "/till/sell", form)
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    [code] = {re.findall(r'id="code">([^<]+)<', answer.text)[0] for answer in answers}
    return str(code)


async def take(
    fleet: PageFleet, owner: Any, till: httpx.AsyncClient, code: str, victim: str
) -> None:
    form = hidden_fields((await press(till, "/till/card", {"code": code})).text)
    form |= {"amount": "10.00", "take": "asked"}
    answers = await together(fleet, owner, victim, till, "/till/take", form)
    assert {answer.status_code for answer in answers} == {303}, answers[0].text
    assert len({answer.headers["location"] for answer in answers}) == 1


async def buy(
    fleet: PageFleet, owner: Any, customer: httpx.AsyncClient, program: str, victim: str
) -> None:
    """Buy a card in the storefront, pay it, and see it on the page of the order."""
    checkout = await press(customer, f"/s/harbour-rye/{program}", GIFT)
    form = {**hidden_fields(checkout.text), "email": "aoife@example.com"}
    ordered = [await press(customer, "/s/harbour-rye/orders", form) for _ in range(2)]
    [pay_url] = {answer.headers["location"] for answer in ordered}
    paid = {"outcome": "paid"}
    answers = await together(fleet, owner, victim, customer, pay_url, paid)
    assert {answer.status_code for answer in answers} == {303}, answers[0].text
    page = await press(customer, answers[0].headers["location"])
    assert "Paid. Thank you." in page.text
    assert "Open the card to print it" in page.text


async def require_once(fleet: PageFleet, headers: dict[str, str], code: str) -> None:
    """Everything that was pressed happened once, and the ledger agrees."""
    async with client_of(fleet.instances["a"], **headers) as http:
        looked = await http.post("/cards/lookup", json={"code": code})
        assert looked.json()["balance"] == 1500
        cards = (await read(http, "/cards", limit=100))["data"]
        assert sorted(each["balance"] for each in cards) == [1500, 5000]
        [redemption] = (await read(http, "/redemptions"))["data"]
        assert redemption["amount"] == 1000
        [order] = (await read(http, "/orders"))["data"]
        assert (order["state"], len(order["items"][0]["cards"])) == ("fulfilled", 1)
        assert (await read(http, "/ledger/proof"))["balanced"] is True
