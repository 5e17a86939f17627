"""Gifts by SMS on the pages of customers: from the storefront to the number that is corrected."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Urls
from tests.support.api_calls import read
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of
from tests.support.page_client import hidden_fields, page_client
from tests.support.twilio_server import TwilioServer
from tests.web.test_order_page import set_state

GERMAN = {"accept-language": "de"}
FORM = {
    "amount": "5000", "way": "sms", "to": "Tomás", "to_phone": "06 12345678",
    "from": "Aoife", "message": "For you", "when": "now", "zone": "Europe/Lisbon",
}  # fmt: skip


@pytest.fixture(scope="module")
def texting(urls: Urls) -> Iterator[Instance]:
    """An instance with an account at Twilio. Nothing is sent: no worker runs."""
    settings = TwilioServer(port=1).settings | {"FLORIN_PUBLIC_URL": "https://cards.example"}
    with instance(f"{urls.app}?connection_limit=5", **settings) as running:
        yield running


@pytest.fixture
async def slug(owner: Any, shop: Shop) -> str:
    named = f"shop-{shop.merchant.hex[-12:]}"
    await owner.execute(
        "insert into florin.branding (merchant, slug) values ($1, $2)", shop.merchant, named
    )
    await owner.execute(
        "update florin.program set min_amount = 1000, max_amount = 20000 where merchant = $1",
        shop.merchant,
    )
    return named


async def bought(client: httpx.AsyncClient, shop: Shop, slug: str, **typed: str) -> str:
    """Buy a gift; return the path of its order's page."""
    checked = await client.post(f"/s/{slug}/{shop.program}", data={**FORM, **typed})
    assert checked.status_code == 200, checked.text
    assert "+31612345678" in checked.text
    sent = {"draft": hidden_fields(checked.text)["draft"], "email": "aoife@example.com"}
    paying = (await client.post(f"/s/{slug}/orders", data=sent)).headers["location"]
    done = await client.post(urlsplit(paying).path, data={"outcome": "paid"})
    return urlsplit(done.headers["location"]).path


async def test_messages_are_offered_where_they_can_be_sent(
    api: Instance, texting: Instance, shop: Shop, slug: str
) -> None:
    for running, offered in ((api, False), (texting, True)):
        async with page_client(running, **GERMAN) as client:
            page = (await client.get(f"/s/{slug}")).text
            assert (("Jemanden, per SMS" in page), ('name="to_phone"' in page)) == (
                offered, offered
            )  # fmt: skip
    async with page_client(api) as client:  # a form that was made by hand
        answer = await client.post(f"/s/{slug}/{shop.program}", data=FORM)
        assert answer.status_code == 422
        assert 'href="#to_email"' in answer.text


@pytest.mark.parametrize("number", ["", "12", "+49 1", "+1 555 0100 ext. 3", "a@home.example"])
async def test_a_number_that_is_none_is_named(
    texting: Instance, shop: Shop, slug: str, number: str
) -> None:
    async with page_client(texting, **GERMAN) as client:
        page = f"/s/{slug}/{shop.program}"
        answer = await client.post(page, data={**FORM, "to_phone": number})
        assert answer.status_code == 422
        assert 'href="#to_phone"' in answer.text
        assert "Geben Sie eine vollständige Mobilnummer ein" in answer.text
        assert f'value="{number}"' in answer.text


async def test_the_buyer_corrects_the_number_of_a_gift(
    texting: Instance, shop: Shop, slug: str, owner: Any
) -> None:
    async with page_client(texting) as client, client_of(texting, **shop.headers) as http:
        path = await bought(client, shop, slug)
        page = (await client.get(path)).text
        assert "On its way to +31612345678" in page
        assert re.search(r'<input[^>]*type="tel"[^>]*value="\+31612345678"', page), page
        due = (await read(http, "/deliveries", state="due"))["data"]
        [sent] = [each for each in due if each["kind"] == "gift"]
        assert (sent["channel"], sent["address"]) == ("sms", "+31612345678")
        assert sent["message"].startswith("For you")
        await set_state(owner, shop, "bounced")
        page = (await client.get(f"{path}?lang=de")).text
        assert "Nummer berichtigen" in page
        target = f"{path}/deliveries/{sent['id']}"
        for wrong in ("+31 1", "tomas@example.com", "x" * 300):
            refused = await client.post(target, data={"address": wrong})
            assert refused.status_code == 422
            assert f'href="#address-{sent["id"]}"' in refused.text
        assert (await read(http, f"/deliveries/{sent['id']}"))["address"] == "+31612345678"
        again = await client.post(target, data={"address": "06 12345687"})
        assert (again.status_code, again.headers["location"]) == (303, f"{path}?done=resent")
        found = await read(http, f"/deliveries/{sent['id']}")
        assert (found["state"], found["address"]) == ("due", "+31612345687")


async def test_a_message_waits_for_its_time_where_the_recipient_is(
    texting: Instance, shop: Shop, slug: str
) -> None:
    later = {"when": "later", "date": "2020-01-01", "time": "08:00", "zone": "Australia/Sydney"}
    async with page_client(texting) as client:
        refused = await client.post(f"/s/{slug}/{shop.program}", data={**FORM, **later})
        assert 'href="#date"' in refused.text
