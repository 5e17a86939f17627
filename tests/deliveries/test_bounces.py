"""Bounces and complaints: signed reports of the mail server, and the addresses they suppress."""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from florin_client.testing import new_webhook_secret, signed_webhook
from tests.conftest import Urls
from tests.deliveries.conftest import PUBLIC_URL, mail_settings
from tests.support.api_calls import problem
from tests.support.instance import Instance, Shop, instance
from tests.support.members import client_of
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew

Json = dict[str, Any]
SECRET = new_webhook_secret()


@pytest.fixture(scope="module")
def reported(urls: Urls) -> Iterator[Instance]:
    settings = {"FLORIN_MAIL_REPORT_SECRET": SECRET, "FLORIN_PUBLIC_URL": PUBLIC_URL}
    with instance(f"{urls.app}?connection_limit=5", **settings) as running:
        yield running


@pytest.fixture
async def http(reported: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(reported, **shop.headers) as client:
        yield client


async def gift(http: httpx.AsyncClient, shop: Shop, address: str, key: str) -> Json:
    body = {"program": shop.program, "amount": 5000, "recipient": {"email": address}}
    body["deliver"] = {"channel": "email"}
    answer = await http.post("/cards", json=body, headers={"idempotency-key": key})
    assert answer.status_code == 201, answer.text
    return await delivery(http, answer.json()["delivery"])


async def delivery(http: httpx.AsyncClient, name: str) -> Json:
    found: Json = (await http.get(f"/deliveries/{name}")).json()
    return found


async def reached(http: httpx.AsyncClient, made: Json, state: str) -> Json:
    async def there() -> bool:
        return (await delivery(http, made["id"]))["state"] == state

    await until(there, within_s=30)
    return await delivery(http, made["id"])


async def report(
    http: httpx.AsyncClient, kind: str, message_id: str, **more: str
) -> httpx.Response:
    body, headers = signed_webhook(
        {"id": "msg_1", "type": kind, "message_id": message_id, **more}, SECRET
    )
    Webhook(SECRET).verify(body, headers)  # as the library of the standard signs
    return await http.post("/hooks/mail", content=body, headers=headers)


async def suppressed(http: httpx.AsyncClient, **query: str) -> list[Json]:
    found: list[Json] = (await http.get("/suppressions", params=query)).json()["data"]
    return found


async def test_an_address_that_bounced_gets_nothing_until_it_is_allowed_again(
    http: httpx.AsyncClient, shop: Shop, workers: Crew, mails: MailServer
) -> None:
    workers.start(**mail_settings(mails))
    made = await gift(http, shop, "gone@home.example", "1")
    await reached(http, made, "sent")
    [mail] = mails.mails
    message_id = str(mail.message["Message-ID"])
    assert (await report(http, "delivered", message_id)).status_code == 200
    assert (await delivery(http, made["id"]))["state"] == "delivered"
    for _ in range(2):  # reports come twice
        answer = await report(http, "bounced", message_id, detail="550 5.1.1\r\n\0no such user")
        assert answer.json() == {"received": True}
    found = await delivery(http, made["id"])
    assert (found["state"], found["failure"]) == ("bounced", "550 5.1.1 no such user")
    assert (await report(http, "delivered", message_id)).status_code == 200
    assert (await delivery(http, made["id"]))["state"] == "bounced"
    [entry] = await suppressed(http, address="Gone@home.example")
    assert (entry["reason"], entry["delivery"]) == ("bounced", made["id"])
    assert (await http.get(f"/suppressions/{entry['id']}")).json() == entry
    next_one = await reached(http, await gift(http, shop, "gone@home.example", "2"), "bounced")
    assert "suppressed" in next_one["failure"]
    assert len(mails.mails) == 1
    other = await reached(http, await gift(http, shop, "here@home.example", "3"), "sent")
    lifted = await http.delete(f"/suppressions/{entry['id']}")
    assert lifted.json() == entry
    problem(await http.get(f"/suppressions/{entry['id']}"), 404, "not_found")
    problem(await http.delete(f"/suppressions/{entry['id']}"), 404, "not_found")
    assert (await http.post(f"/deliveries/{next_one['id']}/resend", json={})).status_code == 200
    await reached(http, next_one, "sent")
    [audited] = (await http.get("/audit", params={"action": "suppression.lifted"})).json()["data"]
    assert "gone@" not in json.dumps(audited)
    assert len(mails.mails) == 3
    # A complaint leaves the state, and outweighs a bounce.
    complained = f"<{other['id']}.1@shop.example>"
    assert (await report(http, "complained", complained)).status_code == 200
    assert (await delivery(http, other["id"]))["state"] == "sent"
    [entry] = await suppressed(http)
    assert (entry["address"], entry["reason"]) == ("here@home.example", "complained")
    erased = await http.post("/people/erase", json={"email": "here@home.example"})
    assert erased.status_code == 200
    assert await suppressed(http) == []


async def test_a_report_that_is_not_authentic_changes_nothing(
    http: httpx.AsyncClient, shop: Shop, owner: Any, api: Instance
) -> None:
    made = await gift(http, shop, "safe@home.example", "4")
    await owner.execute("update florin.delivery set state = 'sent' where address like 'safe@%'")
    message_id = f"<{made['id']}.1@shop.example>"
    event = {"id": "msg_1", "type": "bounced", "message_id": message_id}
    body, headers = signed_webhook(event, SECRET)
    forged: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, signed_webhook(event, new_webhook_secret())[1]),
        (body.replace(b"bounced", b"complained"), headers),
        (body, headers | {"webhook-id": "msg_2"}),
        (body, signed_webhook(event, SECRET, at=time.time() - 600)[1]),
        (body, signed_webhook(event, SECRET, at=time.time() + 600)[1]),
        (body, headers | {"webhook-timestamp": "9" * 5000}),
    ]
    for content, head in forged:
        answer = await http.post("/hooks/mail", content=content, headers=head)
        problem(answer, 400, "mail_report_not_authentic")
    for message_id in ("<alert@shop.example>", f"{made['id']}.2@x", "<dlv_0.1@x>", ""):
        assert (await report(http, "bounced", message_id)).status_code == 200
    problem(await report(http, "opened", message_id), 422, "mail_report_invalid")
    assert (await delivery(http, made["id"]))["state"] == "sent"
    assert await suppressed(http) == []
    async with client_of(api) as stranger:  # an instance without the secret
        answer = await stranger.post("/hooks/mail", content=body, headers=headers)
        problem(answer, 404, "not_found")
