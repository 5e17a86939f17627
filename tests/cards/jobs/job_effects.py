"""Effects: for every kind of job, an example and a check that its effect happened exactly once.

A kind of job without an entry fails test_job_types.py: add its effect here.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from florin.cards import codes
from florin.cards.jobs import bulk_issue as bulk
from florin.cards.jobs.import_parser import ImportRow
from florin.cards.jobs.import_upload import seal_part
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.queue.enqueue import NewJob
from tests.cards.jobs.cleanup_effects import CARDS, KEPT, Check
from tests.cards.jobs.delivery_effects import DELIVERIES
from tests.cards.jobs.payment_effects import PAYMENTS
from tests.cards.jobs.test_expiry import cards, later, proof, states
from tests.cards.jobs.webhook_effects import WEBHOOKS
from tests.ledger.calls import issue, make_merchant, make_program, post
from tests.ledger.model import Op
from tests.support.instance import SECRETS

Effect = Callable[[Any], Awaitable[tuple[NewJob, Check]]]


async def bulk_issue(owner: Any) -> tuple[NewJob, Check]:
    merchant, job = await make_merchant(owner), ids.new_id()
    program = await make_program(owner, merchant)
    await owner.execute(
        "insert into florin.job (merchant, id, kind, program, amount, total, actor)"
        " values ($1, $2, 'bulk', $3, 100, $4, 'tests')",
        *(merchant, job, program, CARDS),
    )

    async def check() -> None:
        row = await owner.fetchrow("select state, done from florin.job where id = $1", job)
        assert tuple(row) == ("finished", CARDS)
        made = await owner.fetch(
            "select id, balance from florin.account where merchant = $1", merchant
        )
        assert [card["balance"] for card in made] == [100] * CARDS
        sealer, on_sheets = Sealer(SECRETS["FLORIN_SEAL_KEY"]), list[str]()
        for sheet in await owner.fetch("select * from florin.job_code_export where job = $1", job):
            bound = bulk.code_export_binding(merchant, job, sheet["part_number"])
            on_sheets += sealer.unseal(sheet["sealed"], bound_to=bound).splitlines()
        shown = sorted(line.split(",")[0] for line in on_sheets)
        assert shown == sorted(ids.show_id("crd", card["id"]) for card in made)
        assert await _events(owner, merchant) == {"card.issued": CARDS, "job.finished": 1}

    payload = {"merchant": str(merchant), "job": str(job)}
    return NewJob(queue="bulk", kind="issue", payload=payload), check


async def bulk_import(owner: Any) -> tuple[NewJob, Check]:
    merchant, job = await make_merchant(owner), ids.new_id()
    program = await make_program(owner, merchant)
    given = [codes.make_code() for _ in range(CARDS - 1)]
    await owner.execute(
        "insert into florin.job (merchant, id, kind, total, actor)"
        " values ($1, $2, 'import', $3, 'tests')",
        *(merchant, job, CARDS + 1),
    )
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    known = [ImportRow(n, program, 100, code) for n, code in enumerate(given)]
    parts = (
        known[:3],
        [*known[3:], ImportRow(CARDS, program, 100), ImportRow(CARDS + 1, ids.new_id(), 100)],
    )
    for nth, part in enumerate(parts):
        await owner.execute(
            "insert into florin.job_part (merchant, job, part_number, sealed)"
            " values ($1, $2, $3, $4)",
            *(merchant, job, nth, seal_part(sealer, part, merchant, job, nth)),
        )

    async def check() -> None:
        row = await owner.fetchrow("select state, done, refused from florin.job where id = $1", job)
        assert tuple(row) == ("finished", CARDS + 1, 1)
        made = await owner.fetch(
            "select code_hash, balance from florin.account where merchant = $1", merchant
        )
        assert [card["balance"] for card in made] == [100] * CARDS
        pepper = SECRETS["FLORIN_CODE_PEPPER"].encode()
        hashes = {codes.code_hash(pepper, merchant, code) for code in given}
        assert hashes <= {card["code_hash"] for card in made}
        assert (
            await owner.fetchval("select count(*) from florin.job_code_export where job = $1", job)
            == 1
        )
        assert await owner.fetchval("select count(*) from florin.job_part where job = $1", job) == 0
        assert await _events(owner, merchant) == {"card.issued": CARDS, "job.finished": 1}

    payload = {"merchant": str(merchant), "job": str(job)}
    return NewJob(queue="bulk", kind="import", payload=payload), check


async def batch_change(owner: Any) -> tuple[NewJob, Check]:
    merchant, batch, job = await make_merchant(owner), ids.new_id(), ids.new_id()
    program = await make_program(owner, merchant)
    made = [ids.new_id() for _ in range(CARDS)]
    await issue(owner, merchant, program, made, [100] * CARDS, activate=[False] * CARDS)
    await owner.execute(
        "update florin.card set job = $2 where merchant = $1",
        *(merchant, batch),
    )
    await owner.execute(
        "insert into florin.job (merchant, id, kind, total, actor, codes, change, cards_of)"
        " values ($1, $2, 'bulk', $3, 'tests', 'none', 'activate', $4)",
        *(merchant, job, CARDS, batch),
    )

    async def check() -> None:
        row = await owner.fetchrow("select state, done, refused from florin.job where id = $1", job)
        assert tuple(row) == ("finished", CARDS, 0)
        moved = await owner.fetch(
            "select credit_card, amount from florin.transfer where merchant = $1", merchant
        )
        assert sorted(row["credit_card"] for row in moved) == sorted(made)
        assert [row["amount"] for row in moved] == [100] * CARDS
        assert await _events(owner, merchant) == {
            "card.issued": CARDS, "card.activated": CARDS, "job.finished": 1,
        }  # fmt: skip

    payload = {"merchant": str(merchant), "job": str(job)}
    return NewJob(queue="bulk", kind="change", payload=payload), check


async def _expiry(owner: Any, asked: Callable[[UUID], NewJob]) -> tuple[NewJob, Check]:
    merchant, _ = await cards(owner, CARDS)
    await later(owner, merchant, timedelta(days=60))

    async def check() -> None:
        assert await states(owner, merchant) == {"expired": CARDS}
        found = await proof(owner, merchant)
        expected = {"breakage": 100 * CARDS, "entries": CARDS, "events": CARDS, "wrong": 0}
        assert dict(found) == expected

    return asked(merchant), check


async def expiry_sweep(owner: Any) -> tuple[NewJob, Check]:
    return await _expiry(owner, lambda _: NewJob(queue="gift-card-expiry", kind="sweep"))


async def expiry_expire(owner: Any) -> tuple[NewJob, Check]:
    def asked(merchant: UUID) -> NewJob:
        payload = {"merchant": str(merchant)}
        return NewJob(queue="gift-card-expiry", kind="expire", payload=payload)

    return await _expiry(owner, asked)


async def expiry_lapse(owner: Any) -> tuple[NewJob, Check]:
    merchant, (card, *_) = await cards(owner, 2)
    spend = Op(merchant="m", kind="redeem", id=ids.new_id(), card=card, amount=70, currency="EUR")
    await post(owner, {"m": merchant}, [spend])
    await later(owner, merchant, timedelta(days=60))
    end = Op(merchant="m", kind="expire", id=ids.new_id(), card=card)
    await post(owner, {"m": merchant}, [end])
    back = Op(merchant="m", kind="refund", id=ids.new_id(), other=spend.id, amount=70)
    await post(owner, {"m": merchant}, [back])
    asked = await owner.fetchrow(
        "delete from florin.outbox where queue = 'gift-card-expiry'"
        " and payload->>'card' = $1 returning kind, payload::text",
        str(card),
    )
    assert asked["kind"] == "lapse"

    async def check() -> None:
        found = await owner.fetch(
            "select amount from florin.transfer where debit_card = $1 and kind = 'expire'"
            " order by debit_sequence",
            card,
        )
        assert [row["amount"] for row in found] == [30, 70]
        balance = "select balance from florin.account where merchant = $1 and id = $2"
        assert await owner.fetchval(balance, merchant, card) == 0

    payload = msgspec.json.decode(asked["payload"])
    return NewJob(queue="gift-card-expiry", kind="lapse", payload=payload), check


async def _events(owner: Any, merchant: UUID) -> dict[str, int]:
    rows = await owner.fetch(
        "select type, count(*) n from florin.event where merchant = $1 group by 1", merchant
    )
    return {row["type"]: row["n"] for row in rows}


EFFECTS: dict[tuple[str, str], Effect] = {
    ("bulk", "issue"): bulk_issue,
    ("bulk", "import"): bulk_import,
    ("bulk", "change"): batch_change,
    ("gift-card-expiry", "sweep"): expiry_sweep,
    ("gift-card-expiry", "expire"): expiry_expire,
    ("gift-card-expiry", "lapse"): expiry_lapse,
    **KEPT,
    **DELIVERIES,
    **WEBHOOKS,
    **PAYMENTS,
}
