"""Order page: what the buyer may do: correct the address, send again, pay again, withdraw."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.conftest import Urls
from tests.orders.selling import buy, choose, place
from tests.support.api_calls import read, redeem
from tests.support.instance import Instance, Shop, instance
from tests.support.page_client import hidden_fields, page_client

GIFT = {
    "recipient": {"name": "Tomás", "email": "tomas@exmaple.com"},
    "deliver": {"channel": "email"},
}
LATER = {"channel": "email", "at": "2099-12-24T08:00", "timezone": "Europe/Lisbon"}


async def bought(http: httpx.AsyncClient, shop: Shop, **gift: Any) -> dict[str, Any]:
    """A paid order of one card that is sent by e-mail."""
    item = {"program": shop.program, "amount": 5000, **GIFT, **gift}
    return await buy(http, shop, items=[item])


async def delivery_of(http: httpx.AsyncClient, order: dict[str, Any]) -> dict[str, Any]:
    [card] = order["items"][0]["cards"]
    [found] = (await read(http, "/deliveries", card=card))["data"]
    return found


async def set_state(owner: Any, shop: Shop, state: str) -> None:
    """As after it was sent, or came back."""
    await owner.execute("delete from florin.queue_job")
    await owner.execute(
        "update florin.delivery set state = $2 where merchant = $1", shop.merchant, state
    )


def path_of(order: dict[str, Any]) -> str:
    return "/o/" + order["url"].rpartition("/")[2]


async def test_a_mail_that_came_back_goes_to_a_corrected_address(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    order = await bought(http, shop)
    await set_state(owner, shop, "bounced")
    sent = await delivery_of(http, order)
    async with page_client(api) as client:
        page = await client.get(path_of(order))
        assert "Not delivered to tomas@exmaple.com" in page.text
        target = f"{path_of(order)}/deliveries/{sent['id']}"
        wrong = await client.post(target, data={"address": '"><script>x'})
        assert wrong.status_code == 422
        assert f'href="#address-{sent["id"]}"' in wrong.text
        assert "<script>x" not in wrong.text
        again = await client.post(target, data={"address": "Tomas@example.com"})
        assert (again.status_code, again.headers["location"]) == (
            303,
            f"{path_of(order)}?done=resent",
        )
    found = await delivery_of(http, order)
    assert (found["state"], found["address"]) == ("due", "tomas@example.com")


async def test_a_gift_that_waits_gets_another_address_and_no_message(
    api: Instance, http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await bought(http, shop, deliver=LATER)
    sent = await delivery_of(http, order)
    async with page_client(api) as client:
        target = f"{path_of(order)}/deliveries/{sent['id']}"
        answer = await client.post(f"{target}?lang=de", data={"address": "t@example.com"})
        assert answer.headers["location"] == f"{path_of(order)}?done=corrected&lang=de"
    found = await delivery_of(http, order)
    assert (found["state"], found["address"], found["due_at"]) == (
        "waiting",
        "t@example.com",
        sent["due_at"],
    )


async def test_a_message_that_arrived_is_sent_again_but_not_elsewhere(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    order = await bought(http, shop)
    await set_state(owner, shop, "sent")
    sent = await delivery_of(http, order)
    async with page_client(api) as client:
        target = f"{path_of(order)}/deliveries/{sent['id']}"
        await client.post(target, data={"address": "thief@example.com"})
        found = await delivery_of(http, order)
        assert (found["state"], found["address"]) == ("due", "tomas@exmaple.com")
        # It is due already: a second press sends nothing more.
        page = await client.get(path_of(order))
        assert "On its way to" in page.text


async def test_only_the_deliveries_of_the_order_are_changed(
    api: Instance, http: httpx.AsyncClient, shop: Shop
) -> None:
    order, other = await bought(http, shop), await bought(http, shop)
    foreign = await delivery_of(http, other)
    async with page_client(api) as client:
        for target in (
            f"{path_of(order)}/deliveries/{foreign['id']}",
            f"{path_of(order)}/deliveries/dlv_{'0' * 32}",
            f"{path_of(order)}/deliveries/x",
            f"/o/{'a' * 26}/deliveries/{foreign['id']}",
        ):
            answer = await client.post(target, data={"address": "thief@example.com"})
            assert answer.status_code == 404
    assert (await delivery_of(http, other))["address"] == "tomas@exmaple.com"


async def test_an_order_causes_few_messages(urls: Urls, shop: Shop, owner: Any) -> None:
    with instance(f"{urls.app}?connection_limit=5") as running:
        async with (
            httpx.AsyncClient(
                base_url=f"{running.base}/api/v1", headers=shop.headers, timeout=60
            ) as http,
            page_client(running) as client,
        ):
            order = await bought(http, shop)
            sent = await delivery_of(http, order)
            target = f"{path_of(order)}/deliveries/{sent['id']}"
            statuses: list[int] = []
            for _ in range(8):
                await set_state(owner, shop, "sent")
                statuses.append((await client.post(target, data={"address": ""})).status_code)
            assert statuses == [303] * 6 + [429] * 2


async def test_a_declined_order_is_paid_again_once(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    order = await place(http, shop)
    await choose(order, "declined")
    async with page_client(api) as client:
        page = await client.get(path_of(order))
        assert "Try to pay again" in page.text
        after = hidden_fields(page.text)["after"]
        target = f"{path_of(order)}/pay"
        answers = await asyncio.gather(
            *(client.post(target, data={"after": after}) for _ in range(4))
        )
        late = await client.post(target, data={"after": after})
        assert {answer.status_code for answer in (*answers, late)} == {303}
        assert late.headers["location"] != order["pay_url"]
        places = {answer.headers["location"] for answer in answers}
        assert places == {late.headers["location"]}
        # A press that comes before the page of the attempt is known waits for it.
        await owner.execute(
            "update florin.payment set state = 'created', reference = null, url = null"
            " where merchant = $1 and state = 'open'",
            shop.merchant,
        )
        early = await client.post(target, data={"after": after})
        assert early.headers["location"] == late.headers["location"]
        payments = (await read(http, "/payments", order=order["id"]))["data"]
        assert len(payments) == 2
        await client.post(late.headers["location"], data={"outcome": "paid"})
        assert (await read(http, f"/orders/{order['id']}"))["state"] == "fulfilled"
        paid = await client.post(target, data={"after": after})
        assert paid.headers["location"] == path_of(order)


async def test_the_buyer_withdraws_from_what_is_unspent(
    api: Instance, http: httpx.AsyncClient, shop: Shop
) -> None:
    order = await bought(http, shop)
    [card] = order["items"][0]["cards"]
    await redeem(http, {"id": card}, 1000)
    async with page_client(api) as client:
        page = await client.get(path_of(order))
        assert f"{path_of(order)}/withdraw" in page.text
        asked = await client.get(f"{path_of(order)}/withdraw")
        assert "It cannot be undone" in asked.text
        for _ in range(2):
            answer = await client.post(f"{path_of(order)}/withdraw")
            assert answer.headers["location"] == f"{path_of(order)}?done=withdrawn"
        after = await client.get(path_of(order))
        assert "/withdraw" not in after.text
        gone = await client.get(f"{path_of(order)}/withdraw")
        assert gone.status_code == 303
    found = await read(http, f"/orders/{order['id']}")
    assert (found["refunded"], bool(found["withdrawn_at"])) == (4000, True)
    assert (await read(http, f"/cards/{card}"))["balance"] == 0


async def test_after_fourteen_days_no_one_is_asked_to_withdraw(aging: Any, api: Instance) -> None:
    http, shop, pass_time = aging
    order = await bought(http, shop)
    await pass_time(days=18)  # a period that ends on a Saturday lasts until Monday
    async with page_client(api) as client:
        assert "/withdraw" not in (await client.get(path_of(order))).text
        await client.post(f"{path_of(order)}/withdraw")
    assert (await read(http, f"/orders/{order['id']}"))["refunded"] == 0


@pytest.mark.parametrize("action", ["", "/withdraw"])
async def test_an_unknown_order_has_one_answer(api: Instance, action: str) -> None:
    async with page_client(api) as client:
        texts = [
            (await client.get(f"/o/{token}{action}")).text for token in ("x", "a" * 26, "-" * 100)
        ]
        assert len({re.sub('/o/[^?"]*', "", text) for text in texts}) == 1
