"""Reminders: each once, by the merchant's clock, and none that would be wrong."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from florin.kit import ids
from florin.kit.queue.enqueue import NewJob, enqueue_now
from tests.deliveries.conftest import mail_settings
from tests.support.instance import Shop
from tests.support.receivers import MailServer
from tests.support.waiting import until
from tests.support.workers import Crew

DAY = timedelta(days=1)


async def make(http: httpx.AsyncClient, program: str, name: str, amount: int = 5000) -> UUID:
    body = {
        "program": program,
        "amount": amount,
        "recipient": {"email": f"{name}@home.example"},
    }
    answer = await http.post("/cards", json=body, headers={"idempotency-key": name})
    assert answer.status_code == 201, answer.text
    uuid = ids.parse_id("crd", answer.json()["id"])
    assert uuid is not None
    return uuid


async def remind(owner: Any, *, times: int = 1) -> None:
    """Run the job, several times at once."""
    await enqueue_now(owner, *(NewJob(queue="expiry-reminders", kind="find") for _ in range(times)))

    async def over() -> bool:
        open_jobs = await owner.fetchval(
            "select count(*) from florin.queue_job where queue = 'expiry-reminders'"
        )
        return open_jobs == 0

    await until(over)


async def reminded(owner: Any, shop: Shop) -> list[tuple[str, int]]:
    rows = await owner.fetch(
        "select address, (data->>'days')::integer as days from florin.delivery"
        " where merchant = $1 and kind = 'reminder' order by address, days desc",
        shop.merchant,
    )
    return [(row["address"].partition("@")[0], row["days"]) for row in rows]


async def test_each_reminder_is_made_once(aging: Any, owner: Any, workers: Crew) -> None:
    http, shop, pass_time = aging
    await owner.execute(
        "update florin.program set expires_after_months = 4 where merchant = $1", shop.merchant
    )
    await make(http, shop.program, "full")
    empty = await make(http, shop.program, "empty")
    blocked = await make(http, shop.program, "blocked")
    spent = await http.post(
        "/redemptions",
        json={"card": ids.show_id("crd", empty), "amount": 5000, "currency": "EUR"},
        headers={"idempotency-key": "spend"},
    )
    assert spent.status_code == 201, spent.text
    await http.post(f"/cards/{ids.show_id('crd', blocked)}/block")
    for _ in range(2):
        workers.start()
    await remind(owner, times=3)
    assert await reminded(owner, shop) == []
    expires: Any = await owner.fetchval(
        "select min(expires_at) - clock_timestamp() from florin.account where merchant = $1",
        shop.merchant,
    )
    await pass_time(seconds=(expires - 29 * DAY).total_seconds())
    await asyncio.gather(remind(owner, times=3))
    await remind(owner)
    assert await reminded(owner, shop) == [("full", 30)]
    await pass_time(days=23)
    await remind(owner, times=3)
    assert await reminded(owner, shop) == [("full", 30), ("full", 7)]
    await owner.execute(  # a clock that was moved back
        "update florin.merchant set clock_offset = clock_offset - interval '20 days' where id = $1",
        shop.merchant,
    )
    await remind(owner)
    assert await reminded(owner, shop) == [("full", 30), ("full", 7)]


async def test_a_late_reminder_is_the_nearest_only_and_names_the_day(
    aging: Any, owner: Any, workers: Crew, mails: MailServer
) -> None:
    http, shop, pass_time = aging
    await owner.execute(
        "update florin.program set expires_after_months = 4 where merchant = $1", shop.merchant
    )
    card = await make(http, shop.program, "late")
    changed = await http.patch(f"/programs/{shop.program}", json={"reminder_days": [3, 14, 3]})
    assert changed.json()["reminder_days"] == [14, 3]
    expires: Any = await owner.fetchval(
        "select expires_at - clock_timestamp() from florin.account where id = $1", card
    )
    await pass_time(seconds=(expires - 2 * DAY).total_seconds())
    workers.start(**mail_settings(mails))
    await remind(owner)
    assert await reminded(owner, shop) == [("late", 3)]
    await pass_time(hours=12)  # after nine in the morning
    await enqueue_now(owner, NewJob(queue="scheduled-delivery", kind="sweep"))
    [mail] = await until(
        lambda: [each for each in mails.mails if each.recipients == ("late@home.example",)]
    )
    assert mail.subject.startswith("€50.00 at Shop until")
    assert "/c/" not in mail.text


async def test_a_card_of_few_days_is_not_reminded_at_once(
    aging: Any, owner: Any, workers: Crew
) -> None:
    http, shop, _ = aging
    await owner.execute(
        "update florin.program set expires_after_months = 1, reminder_days = '{60,7}'"
        " where merchant = $1",
        shop.merchant,
    )
    await make(http, shop.program, "short")
    workers.start()
    await remind(owner)
    assert await reminded(owner, shop) == []
