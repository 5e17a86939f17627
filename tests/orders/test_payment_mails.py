"""Payment mails: to buyers about receipts, refunds and withdrawals, to members about disputes."""

import asyncio
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from florin.kit import ids
from florin.kit.amounts import format_instant
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.orders.selling import buy, choose, dashboard, place
from tests.orders.test_orders import page
from tests.support.api_calls import Json, made, post, problem, read, redeem
from tests.support.instance import Shop
from tests.support.receivers import mail_server
from tests.support.receivers.smtp import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew

_MEMBER = """
insert into florin.member (merchant, id, email, password_hash, role) values ($1, $2, $3, $4, $5)
"""
# Of two cards of 20.00 at 23 %, each with 3.74 of VAT.
VAT = {
    "en": "VAT of 23% included: \u20ac7.48",
    "de": "Darin 23 % Mehrwertsteuer: 7,48 \u20ac",
}
# What each mail says, in the order in which they are caused.
SAID = {
    "en": (
        "Thank you for your order",
        "2 \u00d7 Breakfast",
        "Your refund is on its way",
        "disputed",
    ),
    "de": ("Vielen Dank", "2 \u00d7 Breakfast", "Ihre Erstattung ist unterwegs", "angefochten"),
}


async def notices(http: httpx.AsyncClient) -> list[Json]:
    """The deliveries about money, oldest first."""
    found = (await read(http, "/deliveries", limit=100))["data"]
    return [each for each in reversed(found) if each["kind"] == "notice"]


async def staff(owner: Any, shop: Shop) -> None:
    for email, role, password in (
        ("owner@shop.example", "owner", "x"),
        ("manager@shop.example", "manager", "x"),
        ("cashier@shop.example", "cashier", "x"),
        ("invited@shop.example", "owner", None),
    ):
        address = f"{shop.merchant.hex[-6:]}-{email}"
        await owner.execute(_MEMBER, shop.merchant, ids.new_id(), address, password, role)


async def text_for(mails: MailServer, recipient: str, part: str) -> str:
    """The text of the one mail to a recipient that has this in its subject or text."""

    def found() -> list[str]:
        texts: list[str] = []
        for mail in list(mails.mails):
            if mail.recipients[0].endswith(recipient):
                plain = next(
                    each for each in mail.message.walk() if each.get_content_type() == "text/plain"
                )
                text = f"{mail.message['Subject']}\n{plain.get_content()}"
                texts += [text] if part in text else []
        return texts

    async def there() -> list[str]:
        return found()

    [only] = await until(there, within_s=40)
    return str(only)


@pytest.mark.parametrize("locale", ["en", "de"])
async def test_each_cause_has_one_mail(
    http: httpx.AsyncClient, shop: Shop, owner: Any, workers: Crew, locale: str
) -> None:
    await owner.execute(
        "update florin.program set name = 'Breakfast', vat_country = 'IE', vat_rate = 2300"
    )
    country = {"en": "GB", "de": "AT"}[locale]
    await owner.execute(
        "update florin.merchant set country = $2 where id = $1", shop.merchant, country
    )
    await staff(owner, shop)
    order = await place(http, shop, 2000, count=2, locale=locale)
    await asyncio.gather(*(choose(order, "paid") for _ in range(4)))
    await made(http, f"/orders/{order['id']}/refunds", {"amount": 300})
    await dashboard(http, order, "refund", amount=500)
    await dashboard(http, order, "dispute")
    for _ in range(3):  # each load of the page may look at the gateway
        await page(order["url"])
    await dashboard(http, order, "dispute")
    with mail_server() as mails:
        workers.start(**mail_settings(mails))
        heading, item, refunded, disputed = SAID[locale]
        receipt = await text_for(mails, "buyer@example.com", heading)
        assert item in receipt
        assert VAT[locale] in " ".join(receipt.split())
        assert order["url"].rpartition("/o/")[2] in receipt
        assert f"{PUBLIC_URL}/o/" in receipt
        for sum_ in ("3.00", "5.00"):
            part = f"€{sum_}" if locale == "en" else sum_.replace(".", ",")
            assert refunded in await text_for(mails, "buyer@example.com", part)
        for reader in ("-owner@shop.example", "-manager@shop.example"):
            text = await text_for(mails, reader, disputed)
            assert "€40.00" in text if locale == "en" else "40,00" in text
        await dashboard(http, order, "win")

        async def all_sent() -> bool:
            found = await notices(http)
            return len(found) == 7 and all(each["state"] == "sent" for each in found)

        await until(all_sent, within_s=40)
    found = await notices(http)
    receivers = sorted(each["address"].rpartition("-")[2] for each in found)
    assert receivers == sorted(
        [*["buyer@example.com"] * 3, *["owner@shop.example", "manager@shop.example"] * 2]
    )
    tag = {"en": "en-GB", "de": "de-AT"}[locale]
    assert {each["locale"] for each in found} == {locale, tag}


@pytest.mark.parametrize("locale", ["en", "de"])
async def test_a_withdrawal_is_confirmed_with_date_and_time(
    http: httpx.AsyncClient, shop: Shop, owner: Any, workers: Crew, locale: str
) -> None:
    """Directive 2011/83/EU, article 11a: an acknowledgement on a durable medium."""
    await owner.execute(
        "update florin.merchant set timezone = 'Europe/Berlin' where id = $1", shop.merchant
    )
    order = await place(http, shop, 2000, locale=locale)
    await choose(order, "paid")
    order = await read(http, f"/orders/{order['id']}")
    await redeem(http, await read(http, f"/cards/{order['items'][0]['cards'][0]}"), 500)
    path = f"/orders/{order['id']}/withdraw"
    answers = await asyncio.gather(*(http.post(path) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    at = datetime.fromisoformat(answers[0].json()["withdrawn_at"])
    with mail_server() as mails:
        workers.start(**mail_settings(mails))
        heading = {"en": "We have received your withdrawal", "de": "Ihr Widerruf ist eingegangen"}
        text = await text_for(mails, "buyer@example.com", heading[locale])
    assert format_instant(at, "Europe/Berlin", locale) in text
    assert f"{at.astimezone(ZoneInfo('Europe/Berlin')):%M:%S}" in text
    assert {"en": "€15.00", "de": "15,00\xa0€"}[locale] in text
    assert str(order["number"]) in text.partition("\n")[0]
    assert len(await notices(http)) == 3  # with the receipt and the refund


async def test_a_withdrawal_that_returns_nothing_says_so(
    http: httpx.AsyncClient, shop: Shop, workers: Crew
) -> None:
    order = await buy(http, shop, 700)
    await redeem(http, await read(http, f"/cards/{order['items'][0]['cards'][0]}"), 700)
    await made(http, f"/orders/{order['id']}/withdraw", status=200)
    with mail_server() as mails:
        workers.start(**mail_settings(mails))
        text = await text_for(mails, "buyer@example.com", "We have received your withdrawal")
    assert "Nothing is refunded" in text
    assert len(await notices(http)) == 2


async def test_money_that_came_twice_is_returned_with_a_mail(
    http: httpx.AsyncClient, shop: Shop, workers: Crew
) -> None:
    """Nothing was on cards; and no receipt for an order that does not stand."""
    order = await place(http, shop, 2000)
    await http.post(f"/orders/{order['id']}/cancel")
    await choose(order, "paid")
    with mail_server() as mails:
        workers.start(**mail_settings(mails))
        text = await text_for(mails, "buyer@example.com", "on its way")
        assert "no longer on the cards" not in text
        assert len(await notices(http)) == 1


async def test_a_receipt_is_sent_again_and_erased(http: httpx.AsyncClient, shop: Shop) -> None:
    await buy(http, shop, 700)
    [receipt] = await notices(http)
    path = f"/deliveries/{receipt['id']}"
    problem(await post(http, f"{path}/resend"), 409, "delivery_state")  # it was not sent yet
    await post(http, f"{path}/cancel")
    again = await post(http, f"{path}/resend")
    assert (again.status_code, again.json()["state"]) == (200, "due")
    await made(http, "/people/erase", {"email": "buyer@example.com"}, status=200)
    [erased] = await notices(http)
    assert (erased["state"], erased["address"]) == ("cancelled", "erased")


async def test_who_is_no_member_any_more_gets_no_mail(
    http: httpx.AsyncClient, shop: Shop, owner: Any, workers: Crew
) -> None:
    await staff(owner, shop)
    order = await buy(http, shop, 700)
    await dashboard(http, order, "dispute")
    await owner.execute(
        "delete from florin.member where merchant = $1 and role = 'manager'", shop.merchant
    )
    with mail_server() as mails:
        workers.start(**mail_settings(mails))

        async def ended() -> bool:
            found = await notices(http)
            return len(found) == 3 and {each["state"] for each in found} == {"sent", "cancelled"}

        await until(ended, within_s=40)
        assert not [each for each in mails.mails if "manager" in each.recipients[0]]
