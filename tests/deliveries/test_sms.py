"""SMS: from the card that is issued to the message and its report, counted at Twilio's protocol."""

import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from florin.deliveries.channels.phone_number import read_phone
from florin.kit.settings import InvalidSettings, read_settings
from tests.conftest import Urls
from tests.deliveries.conftest import PUBLIC_URL
from tests.orders.selling import choose
from tests.support.api_calls import made, post, problem, read
from tests.support.instance import NO_TLS, SECRETS, Instance, Shop, instance
from tests.support.members import client_of
from tests.support.twilio_server import (
    BROKEN,
    BUSY,
    INVALID,
    OPTED_OUT,
    TwilioServer,
    twilio_server,
)
from tests.support.waiting import until
from tests.support.workers import Crew

Json = dict[str, Any]
NUMBER = "+4915123456789"


@pytest.fixture(scope="module")
def twilio() -> Iterator[TwilioServer]:
    with twilio_server() as running:
        yield running


@pytest.fixture(scope="module")
def texting(urls: Urls, twilio: TwilioServer) -> Iterator[Instance]:
    with instance(
        f"{urls.app}?connection_limit=5", FLORIN_PUBLIC_URL=PUBLIC_URL, **twilio.settings
    ) as running:
        yield running


@pytest.fixture
async def http(texting: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(texting, **shop.headers) as client:
        yield client


@pytest.fixture
def sending(workers: Crew, twilio: TwilioServer) -> None:
    workers.start(FLORIN_PUBLIC_URL=PUBLIC_URL, **twilio.settings)


async def issue(http: httpx.AsyncClient, shop: Shop, phone: str, **more: Any) -> httpx.Response:
    body = {
        "program": shop.program,
        "amount": 5000,
        "recipient": {"name": "Tomás", "phone": phone},
        "deliver": {"channel": "sms"},
        **more,
    }
    return await http.post("/cards", json=body, headers={"idempotency-key": ascii((phone, more))})


async def delivered(http: httpx.AsyncClient, shop: Shop, phone: str, **more: Any) -> Json:
    answer = await issue(http, shop, phone, **more)
    assert answer.status_code == 201, answer.text
    card: Json = answer.json()
    return card


async def state_of(http: httpx.AsyncClient, card: Json) -> Json:
    found: Json = (await http.get(f"/deliveries/{card['delivery']}")).json()
    return found


async def reached(http: httpx.AsyncClient, card: Json, state: str) -> Json:
    async def there() -> bool:
        return (await state_of(http, card))["state"] == state

    await until(there, within_s=30)
    return await state_of(http, card)


@pytest.mark.usefixtures("sending")
async def test_a_card_arrives_by_its_link_and_its_reports_are_written(
    http: httpx.AsyncClient, shop: Shop, twilio: TwilioServer, texting: Instance
) -> None:
    deliver = {"channel": "sms", "message": "Breakfast is on me", "locale": "de"}
    card = await delivered(http, shop, "06 12345678", deliver=deliver)
    assert card["recipient"]["phone"] == "06 12345678"
    found = await reached(http, card, "sent")
    assert (found["channel"], found["address"]) == ("sms", "+31612345678")
    [text] = [each for each in twilio.texts if each.to == "+31612345678"]
    quote, who, link = text.body.splitlines()
    assert quote == "Breakfast is on me"
    assert "Shop: eine Geschenkkarte über 50,00" in who
    assert link.startswith(f"{PUBLIC_URL}/c/")
    assert card["code"].replace("-", "") not in text.body.replace("-", "")
    report = twilio.report
    # None of these is from Twilio, or about this message.
    assert report(text, "delivered", texting.base, token="another") == 400
    assert report(text, "delivered", texting.base, MessageStatus="failed") == 400
    other = text.callback.removeprefix(PUBLIC_URL).replace("/1", "/2")
    assert report(text, "delivered", texting.base, path=other) == 400
    assert (await state_of(http, card))["state"] == "sent"
    assert report(text, "sending", texting.base) == 200
    assert (await state_of(http, card))["state"] == "sent"
    assert report(text, "delivered", texting.base) == 200
    assert report(text, "undelivered", texting.base, error=30003) == 200
    assert (await state_of(http, card))["state"] == "delivered"
    again = await http.post(f"/deliveries/{card['delivery']}/resend", json={})
    assert again.status_code == 200, again.text
    found = await reached(http, card, "sent")
    assert report(text, "undelivered", texting.base) == 200, "of the message before"
    assert (await state_of(http, card))["state"] == "sent"
    newest = twilio.texts[-1]
    assert newest.body.splitlines()[2] == link
    assert report(newest, "undelivered", texting.base, error=30003) == 200
    found = await state_of(http, card)
    assert (found["state"], found["failure"]) == ("bounced", "Twilio: undelivered, error 30003")


@pytest.mark.usefixtures("sending")
async def test_refusals_end_and_outages_delay(
    http: httpx.AsyncClient, shop: Shop, twilio: TwilioServer
) -> None:
    twilio.refuse |= {"+4915123456701": OPTED_OUT, "+4915123456702": INVALID}
    twilio.refuse["+4915123456703"] = 21617  # the body is too long: nothing of the number
    for number, state in (("701", "bounced"), ("702", "bounced"), ("703", "failed")):
        card = await delivered(http, shop, f"+4915123456{number}")
        found = await reached(http, card, state)
        assert found["attempts"] == 1
        assert "Twilio answered 400 2" in found["failure"]
    changed = await http.patch(
        f"/deliveries/{card['delivery']}", json={"address": "+49 151 23456704"}
    )
    assert changed.json()["address"] == "+4915123456704"
    problem(
        await http.patch(f"/deliveries/{card['delivery']}", json={"address": "a@home.example"}),
        422,
        "invalid_request",
        param="address",
    )
    twilio.faults += [BUSY]
    card = await delivered(http, shop, "+4915123456705")
    found = await reached(http, card, "sent")
    assert (found["attempts"], found["repeated"]) == (2, 0)


@pytest.mark.usefixtures("sending")
async def test_a_report_ends_a_message_whose_answer_was_lost(
    http: httpx.AsyncClient, shop: Shop, twilio: TwilioServer, texting: Instance
) -> None:
    """Twilio has no idempotency keys: only its report keeps the message from being sent twice."""
    twilio.drop_answers = 1
    card = await delivered(http, shop, "+4915123456706")
    await until(lambda: [each for each in twilio.texts if each.to == "+4915123456706"], within_s=30)
    [text] = [each for each in twilio.texts if each.to == "+4915123456706"]
    assert twilio.report(text, "delivered", texting.base) == 200
    twilio.faults += [BROKEN]  # the outcome of a 500 is unknown, too
    other = await delivered(http, shop, "+4915123456707")
    found = await reached(http, other, "sent")
    assert (found["attempts"], found["repeated"]) == (2, 1)
    assert (await state_of(http, card))["state"] == "delivered"
    assert [each.to for each in twilio.texts].count("+4915123456706") == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"recipient": {"name": "Tomás"}}, "recipient.phone"),
        ({"recipient": {"phone": "12"}}, "recipient.phone"),
        ({"recipient": {"phone": "+49 1"}}, "recipient.phone"),
        ({"recipient": {"phone": "+1 555 0100 ext. 3"}}, "recipient.phone"),
        ({"deliver": {"channel": "link"}}, "recipient.phone"),
    ],
)
async def test_a_number_that_is_none_is_refused(
    http: httpx.AsyncClient, shop: Shop, fields: Json, param: str
) -> None:
    problem(await issue(http, shop, NUMBER, **fields), 422, "invalid_request", param=param)


async def test_a_number_is_not_kept_without_its_delivery(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await delivered(http, shop, "+4915123456708", deliver={"channel": "sms", "locale": "en"})
    shown = (await http.get(f"/cards/{card['id']}")).json()
    assert shown["recipient"] == {"name": "Tomás", "email": None}
    for recipient in ({"phone": NUMBER}, {"email": "a@home.example", "phone": NUMBER}):
        answer = await http.patch(f"/cards/{card['id']}", json={"recipient": recipient})
        problem(answer, 422, "invalid_request", param="recipient.phone")


async def test_without_an_account_nothing_is_sent_by_sms(
    api: Instance, shop: Shop, texting: Instance
) -> None:
    del texting  # on the same database
    async with client_of(api, **shop.headers) as http:
        refused = await issue(http, shop, NUMBER)
        problem(refused, 422, "invalid_request", param="deliver.channel")
        refused = await order(http, shop, NUMBER)
        problem(refused, 422, "invalid_request", param="items[0].deliver.channel")
        address = f"/hooks/twilio/mer_{'0' * 32}/dlv_{'0' * 32}/1"
        problem(await http.post(address, content=b"MessageStatus=sent"), 404, "not_found")


async def order(http: httpx.AsyncClient, shop: Shop, phone: str, **more: Any) -> httpx.Response:
    recipient = {"name": "Tomás", "phone": phone}
    item = {"program": shop.program, "amount": 1000, "recipient": recipient, "count": 2}
    item |= {"deliver": {"channel": "sms", "locale": "de"}, **more}
    body = {"items": [item], "buyer": {"email": "b@home.example"}, "gateway": "test"}
    return await http.post("/orders", json=body, headers={"idempotency-key": ascii(item)})


@pytest.mark.usefixtures("sending")
async def test_the_cards_of_an_order_arrive_by_their_links(
    http: httpx.AsyncClient, shop: Shop, twilio: TwilioServer, texting: Instance
) -> None:
    placed = (await order(http, shop, "06 12345679")).json()
    assert placed["items"][0]["recipient"]["phone"] == "+31612345679"
    async with httpx.AsyncClient(verify=NO_TLS, timeout=60) as browser:
        paying = texting.base + urlsplit(str(placed["pay_url"])).path
        assert (await browser.post(paying, data={"outcome": "paid"})).status_code == 303
    cards = (await http.get(f"/orders/{placed['id']}")).json()["items"][0]["cards"]
    assert len(cards) == 2
    for card in cards:
        [sent] = (await http.get("/deliveries", params={"card": card})).json()["data"]
        assert (sent["channel"], sent["address"]) == ("sms", "+31612345679")
        await reached(http, {"delivery": sent["id"]}, "sent")
        assert (await http.get(f"/cards/{card}")).json()["recipient"]["email"] is None
    texts = [each.body for each in twilio.texts if each.to == "+31612345679"]
    links = {link for body in texts for link in re.findall(rf"{PUBLIC_URL}/c/[\w-]{{22}}", body)}
    assert (len(texts), len(links)) == (2, 2)
    assert all("eine Geschenkkarte über 10,00" in body for body in texts)
    assert not any(re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", body) for body in texts), "no code"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"recipient": {"phone": "+49 1"}}, "items[0].recipient.phone"),
        ({"recipient": {"email": "a@b.example"}}, "items[0].recipient.phone"),
        (
            {"recipient": {"phone": NUMBER}, "deliver": {"channel": "link"}},
            "items[0].recipient.phone",
        ),
        ({"deliver": {"channel": "sms", "timezone": "CET-1", "at": "2099-01-01T09:00"}},
         "items[0].deliver.timezone"),
    ],
)  # fmt: skip
async def test_an_order_names_what_keeps_it_from_being_sent(
    http: httpx.AsyncClient, shop: Shop, fields: Json, param: str
) -> None:
    problem(await order(http, shop, NUMBER, **fields), 422, "invalid_request", param=param)


async def test_a_list_of_addresses_is_not_sent_by_sms(http: httpx.AsyncClient, shop: Shop) -> None:
    body = {"program": shop.program, "amount": 1000, "recipients": "email\na@home.example\n"}
    body |= {"buyer": {"email": "b@home.example"}, "deliver": {"channel": "sms"}}
    refused = await http.post("/orders/bulk", json=body, headers={"idempotency-key": "list"})
    problem(refused, 422, "invalid_request", param="recipients")
    assert "phone" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("+49 1512 3456789", None, "+4915123456789"),
        ("01512 3456789", "DE", "+4915123456789"),
        ("(020) 7946 0958", "GB", "+442079460958"),
        ("01512 3456789", None, None),
        ("+49 1", "DE", None),
        ("+999 123456", "DE", None),
        ("", "DE", None),
    ],
)
def test_numbers_are_read(text: str, country: str | None, number: str | None) -> None:
    assert read_phone(text, country) == number


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"TWILIO_AUTH_TOKEN": ""}, "TWILIO_AUTH_TOKEN: is missing"),
        ({"TWILIO_FROM": "twelve letters"}, "TWILIO_FROM: must be a number"),
        ({"TWILIO_ACCOUNT_SID": "SK1"}, "TWILIO_ACCOUNT_SID"),
        ({"TWILIO_URL": "http://sms.example"}, "TWILIO_URL: must begin with https"),
        ({"FLORIN_PUBLIC_URL": ""}, "FLORIN_PUBLIC_URL: is missing"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict[str, str], why: str) -> None:
    given = {"DATABASE_URL": "postgresql:///x", "FLORIN_ENV": "test", **SECRETS}
    given |= TwilioServer(port=1).settings | {"FLORIN_PUBLIC_URL": PUBLIC_URL}
    assert read_settings(given).sends_sms
    with pytest.raises(InvalidSettings, match=why):
        read_settings(given | change)


@pytest.mark.usefixtures("sending")
async def test_a_list_goes_out_by_sms_and_its_recipients_are_exported_and_erased(
    http: httpx.AsyncClient, shop: Shop, twilio: TwilioServer, texting: Instance, owner: Any
) -> None:
    numbers = [f"+4915129990{n:03}" for n in range(3)]
    listed = "Phone;Name;Email\n" + "".join(f"{n};Zoë {n[-1]};\n" for n in numbers)
    body = {
        "program": shop.program,
        "amount": 2500,
        "recipients": listed + "06 18765432;Bob;bob@home.example\n",
        "deliver": {"channel": "sms", "message": "From Corp"},
        "buyer": {"email": "office@corp.example"},
        "gateway": "test",
    }
    order = await made(http, "/orders/bulk", body)
    payable = {**order, "pay_url": order["pay_url"].replace(PUBLIC_URL, texting.base)}
    assert (await choose(payable, "paid")).status_code == 303
    await until(
        lambda: {*numbers, "+31618765432"} <= {each.to for each in twilio.texts}, within_s=30
    )
    found = (await read(http, f"/orders/{order['id']}/recipients"))["data"]
    assert [each["recipient"]["phone"] for each in found] == [*numbers, "+31618765432"]
    for number in numbers:
        [text] = [each for each in twilio.texts if each.to == number]
        assert text.body.startswith("From Corp\n")
        assert f"{PUBLIC_URL}/c/" in text.body

    person = await read(http, "/people/export", phone=numbers[0])
    assert (person["email"], person["phone"]) == (None, numbers[0])
    assert [each["id"] for each in person["cards"]] == [found[0]["card"]]
    assert [each["address"] for each in person["deliveries"]] == [numbers[0]]
    assert [(each["id"], each["messages"]) for each in person["orders"]] == [
        (order["id"], ["From Corp"])
    ]
    assert len(person["entries"]) == 1
    erased = await made(http, "/people/erase", {"phone": "+49 1512 9990000"}, status=200)
    assert erased["cards"] == 1
    nothing = await read(http, "/people/export", phone=numbers[0])
    assert (nothing["cards"], nothing["deliveries"], nothing["orders"]) == ([], [], [])
    for table in ("order_item", "delivery", "event", "card", "audit"):
        rows = await owner.fetch(
            f"select t::text from florin.{table} t where merchant = $1",  # noqa: S608 -- ours
            shop.merchant,
        )
        assert numbers[0] not in str(rows), table
        assert "Zoë 0" not in str(rows), table
    kept = await read(http, f"/cards/{found[0]['card']}")
    assert (kept["recipient"], kept["balance"]) == (None, 2500)
    others = (await read(http, f"/orders/{order['id']}/recipients"))["data"]
    assert [each["recipient"] for each in others[1:]] == [each["recipient"] for each in found[1:]]
    assert (await read(http, "/ledger/proof"))["balanced"]


async def test_numbers_of_a_list_that_are_none_are_named(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    body = {"program": shop.program, "amount": 2500, "deliver": {"channel": "sms"}}
    wrong = "phone,email\n+4915123456789,\n,ada@home.example\n12345,\nno number,\n"
    answer = await post(http, "/orders/bulk/check", {**body, "recipients": wrong})
    refused = problem(answer, 422, "invalid_request")
    assert [each["line"] for each in refused["errors"]] == [3, 4, 5]
    assert "phone is missing" in refused["errors"][0]["detail"]
    for text, channel, words in (
        ("email\na@b.example\n", "sms", "with phone among them"),
        ("email,phone\na@b.example,+4915123456789\n", "email", "only with a delivery by SMS"),
    ):
        sent = {**body, "recipients": text, "deliver": {"channel": channel}}
        refused = problem(await post(http, "/orders/bulk/check", sent), 422, "invalid_request")
        assert words in refused["detail"]


async def test_a_person_is_known_by_an_address_or_by_a_number(http: httpx.AsyncClient) -> None:
    problem(await http.get("/people/export"), 422, "invalid_request")
    both = {"email": "a@b.example", "phone": NUMBER}
    problem(await http.get("/people/export", params=both), 422, "invalid_request")
    problem(await post(http, "/people/erase", {}), 422, "invalid_request")
    problem(await post(http, "/people/erase", both), 422, "invalid_request")
    none = problem(await post(http, "/people/erase", {"phone": "12345"}), 422, "invalid_request")
    assert none["param"] == "phone"
