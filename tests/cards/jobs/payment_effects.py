"""Effects of the jobs of payments, at the gateway `test`; see job_effects.py."""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from florin.cards.delivering import CardDeliveries
from florin.deliveries.card_links import CardLinks
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Tx
from florin.kit.queue.enqueue import NewJob
from florin.orders.bulk import fulfilment as bulk
from florin.orders.bulk.fulfilment import begin_bulk_in, bulk_order_job
from florin.orders.fulfilment import CardFulfilment, read_items
from florin.orders.refunds import RefundPlan, begin_refund_in
from florin.payments.gateway_account import GatewaySecrets, seal_secrets
from florin.payments.gateway_event import GatewayEvent
from florin.payments.jobs import QUEUE, account_events_job, look_job, refund_job
from florin.payments.page_token import make_page_token, page_token_hash
from tests.cards.jobs.cleanup_effects import Check
from tests.ledger.calls import make_merchant, make_program
from tests.support.instance import SECRETS

COUNT, AMOUNT = 2, 100  # the cards of an order
PAID = COUNT * AMOUNT
REFUNDED = 150  # the first card and a part of the second

_ORDER = """
insert into florin.orders (merchant, id, number, token_hash, token_sealed, currency, amount,
  buyer_email, gateway, return_url, base_url, actor, placed_at)
values ($1, $2, 1, $3, 'x', 'EUR', $4, 'buyer@shop.example', 'test', 'https://shop.example/',
  'https://florin.example', 'tests', clock($1) - $5::interval)
"""
_ITEM = """
insert into florin.order_item (merchant, id, orders, position, program, amount, count)
values ($1, $2, $3, 0, $4, $5, $6)
"""
_ITEMS_OF_LIST = """
insert into florin.order_item (merchant, id, orders, position, program, amount, count,
  recipient_email)
select $1, gen_random_uuid(), $2, n - 1, $3, $4, 1, 'r' || n || '@home.example'
from generate_series(1, $5::integer) n
"""
_PAYMENT = """
insert into florin.payment (merchant, id, orders, attempt, provider, gateway, state, currency,
  amount, expires_at, look_due, created_at)
values ($1, $2, $3, 1, 'test', $4, 'created', 'EUR', $5, clock($1) + interval '35 minutes',
  clock_timestamp() - interval '1 second', clock($1))
"""
_AT_GATEWAY = """
insert into florin.test_payment (merchant, payment, token_hash, outcome, decided_at, return_url)
values ($1, $2, $3, 'paid', clock($1), 'https://shop.example/')
"""
_OPEN = """
update florin.payment set state = 'open', reference = 'test_' || replace(id::text, '-', ''),
  url = 'https://florin.example/pay/' || $3 where merchant = $1 and id = $2
"""
_EXPIRED = """
update florin.payment set state = 'expired', look_due = null, created_at = o.placed_at
from florin.orders o where o.merchant = $1 and o.id = $2 and payment.id = $3
"""
_SETTLED = """
update florin.payment set state = 'paid', received = amount, received_currency = currency,
  paid_at = clock(merchant), look_due = null where merchant = $1 and id = $2
"""
_FULFILLED = """
update florin.orders set state = 'fulfilled', paid_by = $3, paid_at = clock(merchant)
where merchant = $1 and id = $2
"""


_LOST: list[GatewayEvent] = []


async def recent_events(_gateway: Any, _since: Any) -> list[GatewayEvent]:
    """The events that a gateway has: in place of its network, whose connections a killed job would
    leave open. tests/payments asks over a socket.
    """
    return list(_LOST)


class _Sale(NamedTuple):
    merchant: UUID
    order: UUID
    payment: UUID


async def _order(owner: Any, *, age: timedelta = timedelta()) -> _Sale:
    """An order of COUNT cards, whose payment is due to be opened."""
    sale = _Sale(await make_merchant(owner), ids.new_id(), ids.new_id())
    program = await make_program(owner, sale.merchant)
    await owner.execute(_ORDER, sale.merchant, sale.order, sale.order.bytes, PAID, age)
    await owner.execute(_ITEM, sale.merchant, ids.new_id(), sale.order, program, AMOUNT, COUNT)
    await owner.execute(_PAYMENT, sale.merchant, sale.payment, sale.order, ids.NONE, PAID)
    return sale


async def _paid_at_gateway(owner: Any, *, opened: bool) -> _Sale:
    """An order whose payment is paid at the gateway, but not settled. If it is not `opened`, the
    answer to the request that opened it was lost.
    """
    sale, token = await _order(owner), make_page_token()
    await owner.execute(_AT_GATEWAY, sale.merchant, sale.payment, page_token_hash(token))
    if opened:
        await owner.execute(_OPEN, sale.merchant, sale.payment, token)
    return sale


async def _refund_asked(owner: Any) -> tuple[_Sale, UUID]:
    """A fulfilled order with a refund whose value was taken from its cards."""
    sale, refund = await _paid_at_gateway(owner, opened=True), ids.new_id()
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    links = CardLinks(
        seal_keys=(SECRETS["FLORIN_SEAL_KEY"],), peppers=(SECRETS["FLORIN_KEY_PEPPER"],)
    )
    deliveries = CardDeliveries(links=links, sealer=sealer, public_url="https://florin.example")
    fulfilment = CardFulfilment(SECRETS["FLORIN_CODE_PEPPER"], sealer, deliveries)
    async with owner.transaction():
        tx = Tx(owner)
        items = await read_items(tx, [(sale.merchant, sale.order)])
        await fulfilment.put_on_cards(tx, items, {sale.order: sale.payment}, "tests")
        await owner.execute(_SETTLED, sale.merchant, sale.payment)
        await owner.execute(_FULFILLED, *sale)
        plan = RefundPlan(amount=REFUNDED, beyond_unspent=False, reason=None, actor="tests")
        await begin_refund_in(tx, sale.merchant, sale.order, plan, refund=refund)
    return sale, refund


async def _clearing(owner: Any, merchant: UUID) -> tuple[int, int]:
    """The balance of gateway_clearing, and what is recorded of it with payments."""
    row = await owner.fetchrow(
        "select (select coalesce(sum(case debit when 'gateway_clearing' then amount"
        " else -amount end), 0)::bigint from florin.transfer where merchant = $1"
        " and 'gateway_clearing' in (debit, credit)) as balance,"
        " (select coalesce(sum(amount), 0)::bigint from florin.gateway_posting"
        "  where merchant = $1 and payment is not null) as recorded",
        merchant,
    )
    return row["balance"], row["recorded"]


async def _balances(owner: Any, merchant: UUID) -> list[int]:
    rows = await owner.fetch("select balance from florin.account where merchant = $1", merchant)
    return sorted(row["balance"] for row in rows)


async def _events(owner: Any, merchant: UUID) -> dict[str, int]:
    rows = await owner.fetch(
        "select type, count(*) n from florin.event where merchant = $1 group by 1", merchant
    )
    return {row["type"]: row["n"] for row in rows}


async def _check_sold(owner: Any, sale: _Sale) -> None:
    """Check that the payment bought the cards once."""
    merchant = sale.merchant
    payment = await owner.fetchrow("select * from florin.payment where id = $1", sale.payment)
    assert (payment["state"], payment["received"]) == ("paid", PAID)
    assert payment["look_due"] is None
    order = await owner.fetchrow("select * from florin.orders where id = $1", sale.order)
    assert (order["state"], order["paid_by"]) == ("fulfilled", sale.payment)
    assert await _balances(owner, merchant) == [AMOUNT] * COUNT
    sold = await owner.fetch("select card from florin.order_card where merchant = $1", merchant)
    sent = await owner.fetch(
        "select card, cause from florin.delivery where merchant = $1", merchant
    )
    assert len(sold) == COUNT
    cards = sorted(row["card"] for row in sent if row["card"] is not None)
    assert sorted(row["card"] for row in sold) == cards
    causes = {row["cause"] for row in sent if row["card"] is None}
    assert f"receipt:{sale.order.hex}" in causes
    assert await _clearing(owner, merchant) == (PAID, PAID)
    found = await _events(owner, merchant)
    once = {"payment.paid": 1, "order.paid": 1, "order.fulfilled": 1}
    assert found == {"card.issued": COUNT, **once}
    # The page that the buyer is sent to is the one that the gateway knows.
    token = payment["url"].rpartition("/")[2]
    at_gateway = await owner.fetchval(
        "select token_hash from florin.test_payment where payment = $1", sale.payment
    )
    assert at_gateway == page_token_hash(token)


async def _check_refunded(owner: Any, sale: _Sale, refund: UUID) -> None:
    """Check that the refund was made at the gateway once, and taken from the cards once."""
    merchant = sale.merchant
    row = await owner.fetchrow("select * from florin.payment_refund where id = $1", refund)
    assert (row["state"], row["clawed"], row["due_at"]) == ("done", REFUNDED, None)
    made = await owner.fetch("select * from florin.test_refund where merchant = $1", merchant)
    assert [(each["id"], each["amount"]) for each in made] == [(refund, REFUNDED)]
    counted = "select refunded from florin.payment where id = $1"
    assert await owner.fetchval(counted, sale.payment) == REFUNDED
    assert sum(await _balances(owner, merchant)) == PAID - REFUNDED
    clawed = "select sum(clawed)::bigint from florin.order_card where merchant = $1"
    assert await owner.fetchval(clawed, merchant) == REFUNDED
    assert await _clearing(owner, merchant) == (PAID - REFUNDED, PAID - REFUNDED)
    kinds = await owner.fetch(
        "select kind::text, count(*) n, sum(amount)::bigint as amount from florin.transfer"
        " where merchant = $1 and 'refunds_pending' in (debit, credit) group by 1",
        merchant,
    )
    assert {each["kind"]: each["amount"] for each in kinds} == {
        "clawback": REFUNDED, "gateway_refund": REFUNDED,
    }  # fmt: skip
    found = await _events(owner, merchant)
    assert (found["payment_refund.asked"], found["payment_refund.done"]) == (1, 1)


async def look(owner: Any) -> tuple[NewJob, Check]:
    sale = await _paid_at_gateway(owner, opened=False)

    async def check() -> None:
        await _check_sold(owner, sale)

    # Looks of several events may run at once, so it has no key.
    return replace(look_job(sale.merchant, sale.payment), dedupe=None), check


async def bulk_order(owner: Any) -> tuple[NewJob, Check]:
    """An order of a card for each of more recipients than one transaction takes, which is paid."""
    bulk.PART = 2  # each card takes some awaits, at each of which the job is killed
    count = 3
    sale = _Sale(await make_merchant(owner), ids.new_id(), ids.new_id())
    merchant, paid = sale.merchant, count * AMOUNT
    program = await make_program(owner, merchant)
    await owner.execute(_ORDER, merchant, sale.order, sale.order.bytes, paid, timedelta())
    await owner.execute("update florin.orders set bulk = true where id = $1", sale.order)
    await owner.execute(_ITEMS_OF_LIST, merchant, sale.order, program, AMOUNT, count)
    await owner.execute(_PAYMENT, merchant, sale.payment, sale.order, ids.NONE, paid)
    await owner.execute(_SETTLED, merchant, sale.payment)
    payment = await owner.fetchrow("select * from florin.payment where id = $1", sale.payment)
    order = await owner.fetchrow("select * from florin.orders where id = $1", sale.order)
    async with owner.transaction():
        await begin_bulk_in(Tx(owner), payment, order, "tests")
    await owner.execute("delete from florin.outbox where queue = 'bulk'")

    async def check() -> None:
        state = await owner.fetchval("select state from florin.orders where id = $1", sale.order)
        assert state == "fulfilled"
        assert await _balances(owner, merchant) == [AMOUNT] * count
        sold = await owner.fetch("select card from florin.order_card where merchant = $1", merchant)
        sent = await owner.fetch(
            "select card, address from florin.delivery where merchant = $1", merchant
        )
        assert sorted(row["card"] for row in sold) == sorted(row["card"] for row in sent)
        assert len({row["address"] for row in sent}) == len(sold) == count
        assert await _clearing(owner, merchant) == (paid, paid)
        owed = await owner.fetchval(
            "select sum(case credit when 'refunds_pending' then amount else -amount end)::bigint"
            " from florin.transfer where merchant = $1 and 'refunds_pending' in (debit, credit)",
            merchant,
        )
        assert owed == 0
        once = {"payment.paid": 1, "order.paid": 1, "order.fulfilled": 1}
        assert await _events(owner, merchant) == {"card.issued": count, **once}

    return replace(bulk_order_job(merchant, sale.order), dedupe=None), check


async def refund(owner: Any) -> tuple[NewJob, Check]:
    sale, asked = await _refund_asked(owner)

    async def check() -> None:
        await _check_refunded(owner, sale, asked)

    return replace(refund_job(sale.merchant, asked), dedupe=None), check


async def due(owner: Any) -> tuple[NewJob, Check]:
    """A payment to look at, a refund to send, and an order that nothing pays any more."""
    await owner.execute("update florin.payment set look_due = null")
    await owner.execute("update florin.payment_refund set due_at = null")
    paid = await _paid_at_gateway(owner, opened=True)
    returned, asked = await _refund_asked(owner)
    await owner.execute(
        "update florin.payment_refund set due_at = clock_timestamp() - interval '1 second'"
        " where id = $1",
        asked,
    )
    unpaid = await _order(owner, age=timedelta(days=2))
    await owner.execute(_EXPIRED, *unpaid)

    async def check() -> None:
        await _check_sold(owner, paid)
        await _check_refunded(owner, returned, asked)
        state = await owner.fetchval("select state from florin.orders where id = $1", unpaid.order)
        assert state == "lapsed"
        assert await _events(owner, unpaid.merchant) == {"order.lapsed": 1}

    return NewJob(queue=QUEUE, kind="due"), check


async def catch_up(owner: Any) -> tuple[NewJob, Check]:
    """A paid payment, of which the gateway has an event that never arrived as a webhook."""
    sale = await _paid_at_gateway(owner, opened=True)
    lost = GatewayEvent(
        ref=f"evt_{sale.payment.hex}",
        kind="checkout.session.completed",
        merchant=sale.merchant,
        payment=sale.payment,
    )
    _LOST[:] = [lost]

    async def check() -> None:
        await _check_sold(owner, sale)
        found = "select event_ref from florin.gateway_event where merchant = $1"
        assert [row["event_ref"] for row in await owner.fetch(found, sale.merchant)] == [lost.ref]

    return NewJob(queue=QUEUE, kind="catch-up"), check


async def account_events(owner: Any) -> tuple[NewJob, Check]:
    """The same of a merchant's own account."""
    _, check = await catch_up(owner)
    merchant, gateway = _LOST[0].merchant, ids.new_id()
    assert merchant is not None
    sealed = seal_secrets(
        Sealer(SECRETS["FLORIN_SEAL_KEY"]), merchant, gateway, GatewaySecrets(secret_key="sk_test_")
    )
    await owner.execute(
        "insert into florin.gateway (merchant, id, provider, live, sealed, made_by)"
        " values ($1, $2, 'stripe', false, $3, 'tests')",
        merchant,
        gateway,
        sealed,
    )
    await owner.execute(
        "update florin.payment set gateway = $2 where merchant = $1", merchant, gateway
    )
    return account_events_job(merchant, gateway), check


PAYMENTS = {
    ("bulk", "order"): bulk_order,
    (QUEUE, "look"): look,
    (QUEUE, "refund"): refund,
    (QUEUE, "due"): due,
    (QUEUE, "catch-up"): catch_up,
    (QUEUE, "account-events"): account_events,
}
