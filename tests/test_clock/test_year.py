"""A year of a merchant's life under the test clock, against a model of cards and holds."""

import calendar
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_calls import Json, balanced, issue, made, post, read
from tests.support.instance import Shop
from tests.test_clock.conftest import advance
from tests.test_clock.test_advance import instant, now

MONTHS = 12
SEED = 19


@dataclass(slots=True)
class ModelHold:
    card: str
    amount: int
    expires_at: datetime
    state: str = "open"


@dataclass(slots=True)
class ModelCard:
    balance: int
    expires_at: datetime
    state: str = "active"


@dataclass(slots=True)
class Model:
    """What a merchant's cards and holds should be, from the rules in the documents alone."""

    cards: dict[str, ModelCard] = field(default_factory=dict[str, ModelCard])
    holds: dict[str, ModelHold] = field(default_factory=dict[str, ModelHold])
    breakage: int = 0

    def held(self, card: str) -> int:
        return sum(
            each.amount
            for each in self.holds.values()
            if each.card == card and each.state == "open"
        )

    def pass_time(self, to: datetime) -> None:
        """Expire holds and cards at their times, in their order."""
        due = [(each.expires_at, 0, name) for name, each in self.holds.items()]
        due += [(each.expires_at, 1, name) for name, each in self.cards.items()]
        for at, kind, name in sorted(due):
            if at > to:
                break
            if kind == 0 and self.holds[name].state == "open":
                self.holds[name].state = "expired"
                self._lapse(self.holds[name].card, self.cards[self.holds[name].card].state)
            elif kind == 1 and self.cards[name].state == "active":
                self.cards[name].state = "expired"
                self._lapse(name, "expired")

    def _lapse(self, name: str, state: str) -> None:
        """What is not held of an expired card goes to breakage."""
        if state == "expired":
            card = self.cards[name]
            free = card.balance - self.held(name)
            self.breakage += free
            card.balance -= free


def end_of_life(issued: datetime, months: int) -> datetime:
    """The end of the day on which the months are over, in UTC."""
    month = issued.month - 1 + months
    year, month = issued.year + month // 12, month % 12 + 1
    day = min(issued.day, calendar.monthrange(year, month)[1])
    return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)


@pytest.mark.slow
async def test_a_year_is_as_the_model_says(
    client: httpx.AsyncClient, test_shop: Shop, worker: Any
) -> None:
    del worker
    draw = random.Random(SEED)
    model = Model()
    limits = {"currency": "EUR", "min_amount": 1, "max_amount": 100_000}
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
    assert model.breakage > 0
    assert {each.state for each in model.holds.values()} >= {"expired", "captured", "voided"}
    await balanced(client)


async def _month(
    http: httpx.AsyncClient,
    model: Model,
    draw: random.Random,
    programs: dict[int, str],
    shop: Shop,
) -> None:
    for months, program in programs.items():
        card = await issue(http, shop, draw.randrange(1, 5000), program=program)
        expires = instant(card["expires_at"])
        assert expires == end_of_life(instant(card["issued_at"]), months)
        model.cards[card["id"]] = ModelCard(card["balance"], expires)
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
