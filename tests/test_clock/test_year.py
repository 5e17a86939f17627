"""A year of a merchant's life under the test clock, against the model of `year_model`."""

import calendar
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.deliveries.conftest import mail_settings, mails
from tests.support.api_calls import Json, balanced, issue, made, post, read
from tests.support.instance import Shop
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew
from tests.test_clock.conftest import ALLOW, advance
from tests.test_clock.test_advance import instant, now
from tests.test_clock.year_model import REMINDED_DAYS, Model, ModelCard, ModelHold, ModelMessage

__all__ = ["mails"]

MONTHS = 12
SEED = 19
ZONE = "Europe/Berlin"  # its summer time begins and ends within any year
LATE_MOST = timedelta(seconds=30)


def end_of_life(issued: datetime, months: int) -> datetime:
    """The end of the day on which the months are over, in UTC."""
    month = issued.month - 1 + months
    year, month = issued.year + month // 12, month % 12 + 1
    day = min(issued.day, calendar.monthrange(year, month)[1])
    return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)


@pytest.mark.slow
async def test_a_year_is_as_the_model_says(
    client: httpx.AsyncClient, test_shop: Shop, workers: Crew, mails: MailServer
) -> None:
    workers.start(**ALLOW, **mail_settings(mails))
    draw = random.Random(SEED)
    model = Model(await now(client))
    limits = {
        "currency": "EUR",
        "min_amount": 1,
        "max_amount": 100_000,
        "reminder_days": list(REMINDED_DAYS),
    }
    programs = {
        months: (
            await made(
                client, "/programs", {"name": f"{months}", "expires_after_months": months, **limits}
            )
        )["id"]
        for months in (1, 3, 6)
    }
    for _ in range(MONTHS):
        await _month(client, model, draw, programs, test_shop)
        to = await now(client) + timedelta(days=30, seconds=draw.randrange(86400))
        await advance(client, to.isoformat())
        model.pass_time(to)
        await _compare(client, model)
        await _compare_messages(client, model, mails)
    assert model.breakage > 0
    assert {each.state for each in model.holds.values()} >= {"expired", "captured", "voided"}
    assert {(each.kind, each.state) for each in model.messages} >= {
        ("gift", "sent"),
        ("gift", "cancelled"),
        ("reminder", "sent"),
    }
    await balanced(client)


async def _month(
    http: httpx.AsyncClient,
    model: Model,
    draw: random.Random,
    programs: dict[int, str],
    shop: Shop,
) -> None:
    for months, program in programs.items():
        await _give(http, model, draw, program=program, months=months, shop=shop)
    for _ in range(12):
        name = draw.choice(list(model.cards))
        card = model.cards[name]
        amount = draw.randrange(1, 2000)
        body = {"card": name, "amount": amount, "currency": "EUR"}
        free = card.balance - model.held(name)
        fits = card.state == "active" and amount <= free
        if draw.random() < 0.5:
            answer = await post(http, "/redemptions", body)
            assert (answer.status_code == 201) is fits, answer.text
            card.balance -= amount if fits else 0
        else:
            span = draw.randrange(60, 90 * 86400)
            answer = await post(http, "/holds", {**body, "expires_in": span})
            assert (answer.status_code == 201) is fits, answer.text
            if fits:
                made_ = answer.json()
                at = instant(made_["expires_at"])
                model.holds[made_["id"]] = ModelHold(name, amount, at)
    await _resolve_some(http, model, draw)


async def _give(
    http: httpx.AsyncClient,
    model: Model,
    draw: random.Random,
    *,
    program: str,
    months: int,
    shop: Shop,
) -> None:
    """Issue a card that is sent at once, at noon of a day in two months, or not at all."""
    address = f"person.{len(model.cards)}@home.example"
    way = draw.choice(("now", "later", "never"))
    noon = datetime.now(UTC)
    more: Json = {}
    if way != "never":
        more["deliver"] = {"channel": "email"}
    if way == "later":
        day = (await now(http) + timedelta(days=draw.randrange(1, 60))).date()
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
        more["deliver"] |= {"at": f"{day}T12:00", "timezone": ZONE}
    amount = draw.randrange(1, 5000)
    card = await issue(http, shop, amount, program=program, recipient={"email": address}, **more)
    expires = instant(card["expires_at"])
    assert expires == end_of_life(instant(card["issued_at"]), months)
    model.cards[card["id"]] = ModelCard(card["balance"], expires, address)
    if way == "later":
        model.messages.append(ModelMessage(card["id"], "gift", noon))
    elif way == "now":
        issued = instant(card["issued_at"])
        model.messages.append(ModelMessage(card["id"], "gift", issued, state="sent"))

        async def is_sent() -> bool:  # before its money is spent
            page = await read(http, "/deliveries", card=card["id"])
            return page["data"][0]["state"] == "sent"

        await until(is_sent)


async def _resolve_some(http: httpx.AsyncClient, model: Model, draw: random.Random) -> None:
    for name, hold in model.holds.items():
        if hold.state != "open" or draw.random() < 0.7:
            continue
        if model.cards[hold.card].state != "active":
            continue
        if draw.random() < 0.5:
            answer = await post(http, f"/holds/{name}/capture")
            hold.state = "captured"
            model.cards[hold.card].balance -= hold.amount
        else:
            answer = await post(http, f"/holds/{name}/void")
            hold.state = "voided"
        assert answer.status_code == 200, answer.text


async def _compare(http: httpx.AsyncClient, model: Model) -> None:
    for name, card in model.cards.items():
        shown: Json = await read(http, f"/cards/{name}")
        got = (shown["state"], shown["balance"], shown["held"])
        assert got == (card.state, card.balance, model.held(name)), name
    for name, hold in model.holds.items():
        assert (await read(http, f"/holds/{name}"))["state"] == hold.state, name
    answer = await read(http, "/ledger/balances")
    assert answer["liability"] == sum(each.balance for each in model.cards.values())
    accounts = {each["account"]: each["balance"] for each in answer["accounts"]}
    assert abs(accounts.get("breakage", 0)) == model.breakage


async def _compare_messages(http: httpx.AsyncClient, model: Model, mails: MailServer) -> None:
    """Against the API, and against what the mail server has: each message once, to its address."""
    for name, card in model.cards.items():
        page = await read(http, "/deliveries", card=name, limit=100)
        wanted = sorted(
            (each.due_at, each.kind, each.state) for each in model.messages if each.card == name
        )
        shown = sorted(
            ((instant(each["due_at"]), each) for each in page["data"]), key=lambda two: two[0]
        )
        assert [(each["kind"], each["state"]) for _, each in shown] == [
            (kind, state) for _, kind, state in wanted
        ], (card, shown)
        for (at, each), (due_at, *_) in zip(shown, wanted, strict=True):
            assert abs(at - due_at) < LATE_MOST, (each, due_at)
            if each["state"] == "sent":
                assert timedelta(0) <= instant(each["sent_at"]) - at < LATE_MOST, each
    sent = Counter(model.cards[each.card].address for each in model.messages
                   if each.state == "sent")  # fmt: skip
    assert Counter(address for mail in mails.mails for address in mail.recipients) == sent
    ids = {mail.message["message-id"] for mail in mails.mails}
    assert len(ids) == len(mails.mails)
