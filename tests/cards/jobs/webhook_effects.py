"""Effects of the jobs of webhooks and of the test clock; see job_effects.py."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.queue.enqueue import NewJob
from florin.webhooks.endpoint import secret_binding
from florin.webhooks.signing import make_webhook_secret
from tests.cards.jobs.cleanup_effects import CARDS, Check
from tests.ledger.calls import issue, make_merchant, make_program
from tests.support.instance import SECRETS


async def _endpoint(owner: Any, *, lane: int = 0) -> tuple[UUID, UUID]:
    """A merchant with an endpoint that no connection is opened to, and CARDS events after it."""
    await owner.execute(
        "update florin.webhook_endpoint set state = 'deleted', disabled_reason = null"
    )
    merchant, endpoint = await make_merchant(owner), ids.new_id()
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    sealed = sealer.seal(make_webhook_secret(), bound_to=secret_binding(merchant, endpoint))
    await owner.execute(
        "insert into florin.webhook_endpoint (merchant, id, url, events, secret_sealed, lane,"
        " cursor_at, cursor_event, made_by)"
        " values ($1, $2, 'http://127.0.0.1:1/', '{*}', $3, $4, now(), $2, 'tests')",
        *(merchant, endpoint, sealed, lane),
    )
    program = await make_program(owner, merchant)
    made = [ids.new_id() for _ in range(CARDS)]
    await issue(owner, merchant, program, made, [100] * CARDS, activate=[True] * CARDS)
    return merchant, endpoint


async def _deliveries(owner: Any, merchant: UUID) -> list[Any]:
    return await owner.fetch(
        "select event, state, attempts from florin.webhook_delivery where merchant = $1", merchant
    )


async def follow(owner: Any) -> tuple[NewJob, Check]:
    merchant, _ = await _endpoint(owner)

    async def check() -> None:
        made = await _deliveries(owner, merchant)
        events = await owner.fetchval(
            "select count(*) from florin.event where merchant = $1", merchant
        )
        assert len(made) == len({row["event"] for row in made}) == events == CARDS

    return NewJob(queue="webhook-delivery", kind="follow", dedupe="follow"), check


async def start(owner: Any) -> tuple[NewJob, Check]:
    _, check = await follow(owner)
    return NewJob(queue="webhook-delivery", kind="start"), check


async def deliver(owner: Any) -> tuple[NewJob, Check]:
    merchant, _ = await _endpoint(owner, lane=2)
    await owner.fetch("select * from webhook_fan_out(500, 5000, 3)")

    async def check() -> None:
        made = await _deliveries(owner, merchant)
        assert len(made) == CARDS
        # At least once: an attempt whose outcome was lost is made again.
        assert sum(row["attempts"] for row in made) >= 1
        failures = await owner.fetchval(
            "select failures from florin.webhook_endpoint where merchant = $1", merchant
        )
        assert failures >= 1

    return NewJob(queue="webhook-delivery", kind="deliver", payload={"lane": 2}), check


async def delete_deliveries(owner: Any) -> tuple[NewJob, Check]:
    merchant, endpoint = await _endpoint(owner)
    ages = {ids.new_id(): days for days in (1, 29, 31, 90)}
    await owner.execute(
        "insert into florin.webhook_delivery (merchant, id, endpoint, event, type, state, next_at,"
        " give_up_at, created_at) select $1, u.id, $2, u.id, 'card.issued', 'delivered', now(),"
        " now(), now() - make_interval(days => u.days) from unnest($3::uuid[], $4::integer[])"
        " u (id, days)",
        *(merchant, endpoint, list(ages), list(ages.values())),
    )
    await owner.execute(
        "update florin.webhook_endpoint set state = 'deleted' where merchant = $1", merchant
    )

    async def check() -> None:
        rows = await owner.fetch(
            "select id from florin.webhook_delivery where merchant = $1", merchant
        )
        assert {row["id"] for row in rows} == {each for each, days in ages.items() if days <= 30}
        endpoints = await owner.fetchval(
            "select count(*) from florin.webhook_endpoint where merchant = $1", merchant
        )
        assert endpoints == 1, "its deliveries can still be read"

    return NewJob(queue="retention", kind="webhooks"), check


async def advance(owner: Any) -> tuple[NewJob, Check]:
    merchant, job = await make_merchant(owner), ids.new_id()
    await owner.execute("update florin.merchant set test = true where id = $1", merchant)
    program = await make_program(owner, merchant)
    made = [ids.new_id() for _ in range(CARDS)]
    await issue(owner, merchant, program, made, [100] * CARDS, activate=[True] * CARDS)
    await owner.execute(
        "update florin.account set expires_at = clock($1) + interval '1 day' * (1 + abs(hashtext("
        "id::text)) % 3) where merchant = $1",
        merchant,
    )
    to = await owner.fetchval("select clock($1) + $2::interval", merchant, timedelta(days=10))
    await owner.execute(
        "insert into florin.job (merchant, id, kind, total, actor, codes, advance_to)"
        " values ($1, $2, 'bulk', 1, 'tests', 'none', $3)",
        *(merchant, job, to),
    )

    async def check() -> None:
        row = await owner.fetchrow("select state, done from florin.job where id = $1", job)
        assert tuple(row) == ("finished", 1)
        moved = await owner.fetchrow(
            "select clock(id) >= $2 as there, clock(id) < $2 + interval '1 day' as near,"
            " clock_moving from florin.merchant where id = $1",
            merchant,
            to,
        )
        assert tuple(moved) == (True, True, False)
        rows = await owner.fetch(
            "select type, count(*) n from florin.event where merchant = $1 group by 1", merchant
        )
        counts = {row["type"]: row["n"] for row in rows}
        assert counts == {"card.issued": CARDS, "card.expired": CARDS, "job.finished": 1}

    payload = {"merchant": str(merchant), "job": str(job)}
    return NewJob(queue="bulk", kind="advance", payload=payload), check


WEBHOOKS = {
    ("webhook-delivery", "follow"): follow,
    ("webhook-delivery", "start"): start,
    ("webhook-delivery", "deliver"): deliver,
    ("retention", "webhooks"): delete_deliveries,
    ("bulk", "advance"): advance,
}
