"""Year: a year of a shop's life, month by month under the test clock, over the public API.

It registers a test merchant of its own, so that no other merchant's books change: its clock begins
now and ends a year ahead. What happens is drawn from a fixed seed: two years differ by their dates.
"""

import json
import random
import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from florin.demo.walkthrough import DemoFailed, DemoShop

MONTHS = 12
SEED = 41
# How much of the usual business each month has, from December on.
_SEASON = (3.0, 0.6, 1.2, 0.7, 0.9, 1.3, 1.0, 0.7, 0.7, 0.9, 1.0, 1.6)
_ZONE = "Europe/Amsterdam"
_SOLD, _ORDERED = 9, 3  # cards and orders of a usual month
_ADVANCE_WITHIN_S = 120.0
_AMOUNTS = (1_500, 2_500, 2_500, 5_000, 5_000, 7_500, 10_000)
_PLACES = ("Quay 7", "Market Square")


@dataclass(slots=True)
class ShopYear:
    """The merchant of the year, and the cards that still have money."""

    shop: DemoShop
    program: str
    draw: random.Random
    cards: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def make(self, what: str, path: str, **body: Any) -> dict[str, Any]:
        """POST and count what was made. Raises DemoFailed when it was refused."""
        answer = self.shop.post(path, **body)
        if "id" not in answer:
            raise DemoFailed(f"{path} answered: {answer.get('detail')}")
        self.counts[what] = self.counts.get(what, 0) + 1
        return answer


def run_year(*, base: str, months: int = MONTHS) -> dict[str, Any]:
    """Live through the months; return the sign-in, what happened, the balances and the proof."""
    started = time.monotonic()
    with httpx.Client(base_url=f"{base}/api/v1", timeout=30) as client:
        sign_in = _register(client)
        shop = DemoShop(client)
        program = shop.post(
            "/programs",
            name="Coffee card",
            currency="EUR",
            min_amount=500,
            max_amount=50_000,
            expires_after_months=6,
        )
        year = ShopYear(shop, program["id"], random.Random(SEED))  # noqa: S311 -- a demo
        for month in range(months):
            _live_month(year, _SEASON[month % len(_SEASON)])
            _advance_month(year)
        return {
            "sign_in": {"url": f"{base}/console", **sign_in},
            "counts": year.counts,
            "seconds": round(time.monotonic() - started, 1),
            "balances": shop.get("/ledger/balances"),
            "proof": shop.get("/ledger/proof"),
        }


def _register(client: httpx.Client) -> dict[str, str]:
    """Open the account of a test merchant; its rights are the client's from now on."""
    name = secrets.token_hex(4)
    sign_in = {
        "email": f"owner@{name}.year.demo.example",
        "password": f"demo-{secrets.token_urlsafe(9)}",
    }
    merchant = {
        "name": "Year Roasters",
        "country": "NL",
        "currency": "EUR",
        "timezone": _ZONE,
        "test": True,
    }
    answer = client.post("/auth/register", json=sign_in | {"merchant": merchant})
    if answer.status_code != 201:  # noqa: PLR2004 -- created
        detail = answer.json().get("detail")
        raise DemoFailed(f"no account could be opened ({detail}); sign-up has to be open")
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return sign_in


def _live_month(year: ShopYear, season: float) -> None:
    for _ in range(round(_SOLD * season)):
        _sell(year)
    for _ in range(round(_ORDERED * season)):
        _order(year)
    for card in list(year.cards):
        if year.draw.random() < 0.35:  # noqa: PLR2004 -- about a third come by each month
            _spend(year, card)
    if year.cards:
        # Of the newest cards: none of them has expired.
        year.make("loads", "/loads", card=year.cards[-1], amount=1_000)
        card = year.draw.choice(year.cards[-5:])
        year.make("adjustments", "/adjustments", card=card, amount=200, reason="goodwill")


def _sell(year: ShopYear) -> None:
    amount = year.draw.choice(_AMOUNTS)
    card = year.make("cards", "/cards", program=year.program, amount=amount)
    year.cards.append(card["id"])


def _order(year: ShopYear) -> None:
    """A customer buys online and pays at the test gateway; now and then it is not paid."""
    amount = year.draw.choice(_AMOUNTS)
    number = year.counts.get("orders", 0)
    order = year.make(
        "orders",
        "/orders",
        items=[{"program": year.program, "amount": amount}],
        buyer={"email": f"customer-{number}@demo.example"},
        gateway="test",
    )
    outcome = year.draw.choices(("paid", "declined"), (9, 1))[0]
    paid = httpx.post(order["pay_url"], data={"outcome": outcome}, timeout=30)
    if paid.status_code >= 400:  # noqa: PLR2004 -- refused
        raise DemoFailed(f"the test gateway answered {paid.status_code}")
    if outcome == "declined":
        return
    fulfilled = year.shop.get(f"/orders/{order['id']}")
    year.cards += fulfilled["items"][0]["cards"]
    chance = year.draw.random()
    if chance < 0.08:  # noqa: PLR2004 -- one in twelve is refunded
        path = f"/orders/{order['id']}/refunds"
        year.make("refunds of orders", path, reason="changed mind")
        year.cards.remove(fulfilled["items"][0]["cards"][0])
    elif chance < 0.12:  # noqa: PLR2004 -- one in twenty-five is disputed
        year.make("disputes", f"/test-gateway/payments/{fulfilled['payment']}/dispute")
        year.cards.remove(fulfilled["items"][0]["cards"][0])


def _spend(year: ShopYear, card: str) -> None:
    found = year.shop.get(f"/cards/{card}")
    if found["state"] != "active" or not found["available"]:
        year.cards.remove(card)
        return
    amount = min(found["available"], year.draw.randrange(250, 3_500, 10))
    redemption = year.make(
        "redemptions",
        "/redemptions",
        card=card,
        amount=amount,
        currency="EUR",
        location=year.draw.choice(_PLACES),
    )
    if year.draw.random() < 0.05:  # noqa: PLR2004 -- one in twenty is given back
        year.make("refunds", "/refunds", redemption=redemption["id"])


def _month_later(now: datetime) -> datetime:
    """The same day of the next month, so that no month of the shop is left out."""
    following = now.replace(day=1) + timedelta(days=32)
    return now.replace(year=following.year, month=following.month, day=min(now.day, 28))


def _advance_month(year: ShopYear) -> None:
    """Move the clock by a month; cards that expire, reminders and holds happen on the way."""
    now = datetime.fromisoformat(year.shop.get("/test-clock")["now"])
    to = _month_later(now.astimezone(ZoneInfo(_ZONE)))
    job = year.shop.post("/test-clock/advance", to=to.isoformat())
    until = time.monotonic() + _ADVANCE_WITHIN_S
    while time.monotonic() < until:
        state = year.shop.get(f"/jobs/{job['id']}")["state"]
        if state == "finished":
            return
        if state == "failed":
            break
        time.sleep(0.1)
    raise DemoFailed("the test clock did not arrive; are workers running? See florin queue list")


def main(*, base: str, as_json: bool = False) -> int:
    """Run `florin demo --year`; return the exit code: 0 only if the ledger proof balances."""
    if not as_json:
        print("  A year of a shop's life; this takes about half a minute.", flush=True)
    try:
        outcome = run_year(base=base)
    except (DemoFailed, httpx.HTTPError) as error:
        print(f"The demo stopped: {error}. Is the fleet up? See florin status.", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(outcome))
    else:
        for what, number in outcome["counts"].items():
            print(f"  {what:<18} {number:>6}")
        word = "balance" if outcome["proof"]["balanced"] else "DO NOT BALANCE"
        sign_in = outcome["sign_in"]
        print(f"\n  The books {word}. ({outcome['seconds']} s)")
        print(f"  Console    {sign_in['url']}")
        print(f"  Sign-in    {sign_in['email']}  {sign_in['password']}")
    return 0 if outcome["proof"]["balanced"] else 1
