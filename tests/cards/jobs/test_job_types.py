"""Kinds of jobs: run twice, concurrently, by a worker without its lease, and killed at each await.

Made from the plan itself: a kind that is new is in here, and fails until effects.py knows it.
"""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from florin.cards.jobs import retention, throttle
from florin.deliveries import reminders
from florin.kit.postgres.database import Database
from florin.kit.queue.maintenance import declare_queues
from florin.kit.settings import read_settings
from florin.payments.gateways.stripe import StripeGateway
from florin.webhooks import lane
from florin.worker import PLAN
from tests.cards.jobs.interrupted_run import Runs, counting
from tests.cards.jobs.job_effects import EFFECTS
from tests.cards.jobs.payment_effects import recent_events
from tests.conftest import Urls
from tests.support.instance import SECRETS

KINDS = [(queue.name, kind) for queue in PLAN.queues for kind in queue.kinds]
by_kind = pytest.mark.parametrize("kind", KINDS, ids="/".join)


@pytest.fixture
async def runs(
    urls: Urls, owner: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Runs]:
    """An empty queue, and batches so small that a job has several."""
    for where, name in (
        *((throttle, "LEAST"), (throttle, "MOST"), (retention, "CODES")),
        (reminders, "BATCH"),
    ):
        monkeypatch.setattr(where, name, 3)
    monkeypatch.setattr(lane, "LINGER_S", 0.0)
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")
    await declare_queues(database, PLAN)  # as a worker does when it starts
    monkeypatch.setattr(StripeGateway, "recent_events", recent_events)
    given = {"DATABASE_URL": urls.app, "FLORIN_ENV": "test", "STRIPE_SECRET_KEY": "sk_test_1"}
    settings = read_settings({**given, **SECRETS})
    yield Runs(urls.app, owner, database, settings)
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")


def test_every_kind_of_job_has_an_effect_to_check() -> None:
    assert set(EFFECTS) == set(KINDS), "say in effects.py what the effect of a new kind is"
    assert {(each.queue, each.kind) for each in PLAN.schedules} <= set(KINDS)


@by_kind
async def test_twice(runs: Runs, owner: Any, kind: tuple[str, str]) -> None:
    asked, check = await EFFECTS[kind](owner)
    for _ in range(2):
        await runs.put(asked)
        await runs.drain()
        await check()


@by_kind
async def test_at_once(runs: Runs, owner: Any, kind: tuple[str, str]) -> None:
    asked, check = await EFFECTS[kind](owner)
    await runs.put(asked, asked)
    async with runs.database() as one, runs.database() as other:
        pair = [(await runs.claim(database), database) for database in (one, other)]
        await runs.at_once(*((job, database) for job, database in pair if job is not None))
    await runs.drain()
    await check()


@by_kind
async def test_a_worker_that_lost_its_lease_has_no_effect(
    runs: Runs, owner: Any, kind: tuple[str, str]
) -> None:
    """Both run concurrently; only one owns the lease."""
    asked, check = await EFFECTS[kind](owner)
    await runs.put(asked)
    async with runs.database() as one, runs.database() as other:
        zombie = await runs.claim(one)
        await runs.lapse(other)
        heir = await runs.claim(other)
        assert zombie is not None
        assert heir is not None
        assert zombie.id == heir.id
        assert zombie.fence < heir.fence
        await runs.at_once((zombie, one), (heir, other))
    await runs.drain()
    await check()


@pytest.mark.slow
@by_kind
async def test_killed_at_each_await(runs: Runs, owner: Any, kind: tuple[str, str]) -> None:
    with counting():
        place = 0
        while True:
            asked, check = await EFFECTS[kind](owner)
            await runs.put(asked)
            came_so_far = await runs.killed(place)
            await runs.drain()
            await check()
            if not came_so_far:
                break
            place += 1
    assert place > 3, "a verb waits more often than that"
