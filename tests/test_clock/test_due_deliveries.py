"""Deliveries and reminders of a test merchant are sent at their instants while its clock moves."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.deliveries.conftest import mail_settings, mails
from tests.support.api_calls import balanced, issue, made, read
from tests.support.instance import Shop
from tests.support.receivers import MailServer
from tests.support.workers import Crew
from tests.test_clock.conftest import ALLOW, advance
from tests.test_clock.test_advance import ahead, instant

__all__ = ["mails"]

ANA = {"name": "Ana", "email": "ana@home.example"}


async def sent(http: httpx.AsyncClient, card: Any) -> list[Any]:
    page = await read(http, "/deliveries", card=card["id"], limit=100)
    return list(reversed(page["data"]))


async def test_a_card_is_mailed_reminded_expired_and_reinstated_in_one_move(
    client: httpx.AsyncClient, test_shop: Shop, workers: Crew, mails: MailServer
) -> None:
    workers.start(**ALLOW, **mail_settings(mails))
    expires = await ahead(client, days=200)
    later = (instant(await ahead(client, days=40))).strftime("%Y-%m-%dT09:00")
    deliver = {"channel": "email", "at": later, "timezone": "UTC"}
    card = await issue(client, test_shop, 5000, recipient=ANA, expires_at=expires, deliver=deliver)
    quiet = await issue(client, test_shop, 5000, expires_at=expires)
    await made(client, f"/cards/{quiet['id']}/block", status=200)
    assert mails.mails == []

    await advance(client, await ahead(client, days=365))
    deliveries = await sent(client, card)
    assert [(each["kind"], each["state"]) for each in deliveries] == [
        ("gift", "sent"),
        ("reminder", "sent"),
        ("reminder", "sent"),
    ]
    at = instant(card["expires_at"])
    due = [instant(f"{later}:00+00:00"), at - timedelta(days=30), at - timedelta(days=7)]
    for each, wanted in zip(deliveries, due, strict=True):
        late = instant(each["sent_at"]) - wanted
        # A reminder that is due in the night is sent at nine in the morning.
        most = timedelta(seconds=30) if each["kind"] == "gift" else timedelta(hours=9, seconds=30)
        assert timedelta(0) <= late < most, (each["kind"], late)
    assert len(mails.mails) == 3
    assert len({each.message["message-id"] for each in mails.mails}) == 3
    assert (await read(client, f"/cards/{card['id']}"))["state"] == "expired"

    await made(client, f"/cards/{card['id']}/reinstate", status=200)
    shown = await read(client, f"/cards/{card['id']}")
    assert (shown["state"], shown["balance"]) == ("active", 5000)
    await balanced(client)


@pytest.mark.slow
async def test_the_clock_passes_a_message_that_cannot_be_sent(
    client: httpx.AsyncClient, test_shop: Shop, workers: Crew, mails: MailServer
) -> None:
    mails.fail(times=100)
    workers.start(**ALLOW, **mail_settings(mails))
    deliver = {"channel": "email"}
    card = await issue(client, test_shop, 5000, recipient=ANA, deliver=deliver)
    await advance(client, await ahead(client, days=1))
    [found] = await sent(client, card)
    assert found["failure"] is not None
    assert found["attempts"] >= 1
