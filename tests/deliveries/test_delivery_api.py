"""The interface of deliveries: from the card that is issued to the page of its holder."""

from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.support.api_calls import problem
from tests.support.barcodes import read_qr_svg
from tests.support.instance import NO_TLS, Instance, Shop, make_shop
from tests.support.members import client_of

Json = dict[str, Any]
RECIPIENT = {"name": "Tomás", "email": "Tomas@home.example"}


async def issue(http: httpx.AsyncClient, shop: Shop, key: str, **fields: Any) -> httpx.Response:
    body = {"program": shop.program, "amount": 5000, "recipient": RECIPIENT, **fields}
    return await http.post("/cards", json=body, headers={"idempotency-key": key})


async def made(http: httpx.AsyncClient, shop: Shop, key: str, **deliver: Any) -> Json:
    answer = await issue(http, shop, key, deliver={"channel": "email", **deliver})
    assert answer.status_code == 201, answer.text
    card: Json = answer.json()
    return card


async def delivery(http: httpx.AsyncClient, card: Json) -> Json:
    answer = await http.get(f"/deliveries/{card['delivery']}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def page(url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        return await client.get(url)


async def test_a_card_is_issued_with_its_delivery(http: httpx.AsyncClient, shop: Shop) -> None:
    card = await made(http, shop, "gift-1", message="Enjoy", locale="de")
    found = await delivery(http, card)
    assert found["state"] == "due"
    assert found["address"] == "tomas@home.example"
    assert (found["card"], found["message"], found["locale"]) == (card["id"], "Enjoy", "de")
    assert "url" not in card
    again = await issue(
        http,
        shop,
        "gift-1",
        deliver={"channel": "email", "message": "Enjoy", "locale": "de"},
    )
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == card
    other = await issue(http, shop, "gift-1", deliver={"channel": "email"})
    problem(other, 422, "idempotency_key_reused")
    listed = (await http.get("/deliveries", params={"card": card["id"]})).json()["data"]
    assert listed == [found]
    assert (await http.get("/deliveries", params={"state": "sent", "card": card["id"]})).json()[
        "data"
    ] == []


async def test_a_refused_card_leaves_no_delivery(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    before = await owner.fetchval("select count(*) from florin.delivery")
    refused = await issue(http, shop, "no", program="prg_" + "0" * 32, deliver={"channel": "email"})
    assert refused.status_code == 404
    assert await owner.fetchval("select count(*) from florin.delivery") == before


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"recipient": None}, "recipient.email"),
        ({"recipient": {"name": "Tomás"}}, "recipient.email"),
        ({"activate": False}, "deliver"),
        ({"deliver": {"channel": "email", "locale": "xx-nowhere"}}, "deliver.locale"),
        ({"deliver": {"channel": "email", "at": "2026-02-30T09:00"}}, "deliver.at"),
        ({"deliver": {"channel": "email", "at": "tomorrow"}}, "deliver.at"),
        (
            {"deliver": {"channel": "email", "at": "2026-12-24T09:00", "timezone": "Berlin"}},
            "deliver.timezone",
        ),
        ({"deliver": {"channel": "pigeon"}}, "deliver.channel"),
    ],
)
async def test_what_cannot_be_delivered_is_refused(
    http: httpx.AsyncClient, shop: Shop, fields: Json, param: str
) -> None:
    answer = await issue(
        http, shop, f"wrong {param}", **{"deliver": {"channel": "email"}, **fields}
    )
    problem(answer, 422, "invalid_request", param=param)


async def test_a_scheduled_delivery_is_moved_and_cancelled(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = await made(http, shop, "later", at="2099-07-01T09:00", timezone="Europe/Berlin")
    found = await delivery(http, card)
    assert (found["state"], found["due_at"]) == ("waiting", "2099-07-01T07:00:00Z")
    path = f"/deliveries/{card['delivery']}"
    moved = await http.patch(
        path, json={"address": "new@home.example", "due_at": "2099-08-01T00:00:00Z"}
    )
    assert moved.status_code == 200, moved.text
    assert moved.json()["address"] == "new@home.example"
    assert (moved.json()["due_at"], moved.json()["timezone"]) == ("2099-08-01T00:00:00Z", None)
    again = await http.post(f"{path}/resend")
    problem(again, 409, "delivery_state")
    for _ in range(2):
        cancelled = await http.post(f"{path}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    problem(await http.patch(path, json={"address": "a@b.example"}), 409, "delivery_state")
    resent = await http.post(f"{path}/resend")
    assert (resent.status_code, resent.json()["state"]) == (200, "due")


async def test_a_person_is_erased_from_deliveries(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    at = {"at": "2099-07-01T09:00", "message": "for Tomás"}
    waiting = await made(http, shop, "waiting", **at)
    corrected = await made(http, shop, "corrected", **at)
    other = await issue(
        http, shop, "other", recipient={"email": "b@b.example"}, deliver={"channel": "email", **at}
    )
    for card in (corrected, other.json()):
        path = f"/deliveries/{card['delivery']}"
        await http.patch(path, json={"address": "x@x.example"})
    for email, erased_cards in (("tomas@home.example", 2), ("X@x.example", 0)):
        erased = await http.post("/people/erase", json={"email": email})
        assert (erased.status_code, erased.json()["cards"]) == (200, erased_cards)
        found = await delivery(http, other.json())
        assert (found["state"] == "waiting") == (erased_cards == 2)
    for card in (waiting, corrected, other.json()):
        found = await delivery(http, card)
        assert (found["state"], found["address"], found["message"]) == ("cancelled", "erased", None)
        again = await http.post(f"/deliveries/{card['delivery']}/resend")
        problem(again, 409, "delivery_state")
    rows = await owner.fetch(
        "select t::text from florin.delivery t where merchant = $1", shop.merchant
    )
    assert "@" not in str(rows)


async def test_the_page_of_a_link_shows_balance_and_code(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    answer = await issue(
        http, shop, "link", recipient=None, deliver={"channel": "link", "message": "<i>Enjoy</i>"}
    )
    card = answer.json()
    assert (await delivery(http, card))["state"] == "sent"
    shown = await page(card["url"])
    assert shown.status_code == 200
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "€50.00" in shown.text
    assert card["code"] in shown.text
    assert "&lt;i&gt;Enjoy" in shown.text
    image = await page(f"{card['url']}/qr.svg")
    assert image.headers["content-type"] == "image/svg+xml"
    assert read_qr_svg(image.text) == card["code"]
    blocked = await http.post(f"/cards/{card['id']}/block")
    assert blocked.status_code == 200
    assert card["code"] not in (await page(card["url"])).text


async def test_a_page_never_shows_a_code_that_was_replaced(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    card = (await issue(http, shop, "old", deliver={"channel": "link"})).json()
    rotated = (await http.post(f"/cards/{card['id']}/rotate-code")).json()
    shown = (await page(card["url"])).text
    assert card["code"] not in shown
    assert rotated["code"] not in shown
    assert "was replaced" in shown
    assert (await page(f"{card['url']}/qr.svg")).status_code == 404


async def test_a_new_link_revokes_the_older_ones(http: httpx.AsyncClient, shop: Shop) -> None:
    card = (await issue(http, shop, "links", deliver={"channel": "link"})).json()
    answer = await http.post(f"/cards/{card['id']}/link")
    assert answer.status_code == 200, answer.text
    assert answer.json()["revoked"] == 1
    gone = await page(card["url"])
    assert gone.status_code == 404
    assert gone.headers["content-type"].startswith("text/html")
    assert card["code"] in (await page(answer.json()["url"])).text


async def test_after_a_day_a_link_needs_a_new_code(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await made(http, shop, "day")
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 second' where merchant = $1",
        shop.merchant,
    )
    path = f"/cards/{card['id']}/link"
    problem(await http.post(path), 409, "code_not_available")
    answer = await http.post(path, json={"rotate_code": True})
    assert answer.status_code == 200, answer.text
    shown = (await page(answer.json()["url"])).text
    assert card["code"] not in shown
    looked_up = await http.post("/cards/lookup", json={"code": card["code"]})
    problem(looked_up, 404, "card_not_found")


async def test_a_resend_uses_its_link_until_that_is_revoked(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await made(http, shop, "resend")
    path = f"/deliveries/{card['delivery']}"

    async def sent() -> bytes:
        await owner.execute("update florin.delivery set state = 'sent' where card is not null")
        sealed: bytes = await owner.fetchval(
            "select secret_sealed from florin.delivery where merchant = $1 and cause = $2",
            shop.merchant,
            f"issue:{card['id'].removeprefix('crd_')}",
        )
        return sealed

    first = await sent()
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 second' where merchant = $1",
        shop.merchant,
    )
    again = await http.post(f"{path}/resend")
    assert again.status_code == 200, again.text
    assert await sent() == first
    await http.post(f"/cards/{card['id']}/link", json={"rotate_code": True})
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 second' where merchant = $1",
        shop.merchant,
    )
    problem(await http.post(f"{path}/resend"), 409, "code_not_available")
    renewed = await http.post(f"{path}/resend", json={"rotate_code": True})
    assert renewed.status_code == 200, renewed.text
    assert await sent() != first


async def test_deliveries_of_others_do_not_exist(
    http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database, api: Instance
) -> None:
    card = await made(http, shop, "mine")
    other = await make_shop(owner, database)
    async with client_of(api, **other.headers) as stranger:
        path = f"/deliveries/{card['delivery']}"
        for answer in (
            await stranger.get(path),
            await stranger.patch(path, json={"address": "a@b.example"}),
            await stranger.post(f"{path}/cancel"),
            await stranger.post(f"{path}/resend"),
            await stranger.post(f"/cards/{card['id']}/link"),
        ):
            assert answer.status_code == 404
        assert (await stranger.get("/deliveries")).json()["data"] == []
