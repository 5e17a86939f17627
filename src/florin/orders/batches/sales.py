"""Sales: paid orders whose money goes to their cards, any number of them in one transaction.

Locks are taken in one order: payments, orders, cards. As each statement is a round trip while rows
are locked, what is written of several orders is written together.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from florin.kit.observability import logging
from florin.kit.postgres.database import Row, Tx
from florin.orders.clawback import post_gateway
from florin.orders.events import NewEvent, order_event, payment_event, record_events
from florin.orders.fulfilment import CardFulfilment, FulfilledItems
from florin.orders.order import Order, order_from_rows
from florin.orders.payment_mails import receipts_of
from florin.payments.gateway import Seen
from florin.payments.payment import payment_from_row

FLORIN = "florin"
_log = logging.get_logger()

# With `skip locked` after it, rows that another transaction holds are left out.
LOCK_PAYMENTS = """
select p.*, clock_timestamp() as now from florin.payment p
join unnest($1::uuid[], $2::uuid[]) as u (merchant, id) on p.merchant = u.merchant and p.id = u.id
order by p.merchant, p.id for no key update of p
"""
LOCK_ORDERS = """
select o.* from florin.orders o
join unnest($1::uuid[], $2::uuid[]) as u (merchant, id) on o.merchant = u.merchant and o.id = u.id
order by o.merchant, o.id for no key update of o
"""
_PAID = """
update florin.payment p set state = 'paid', received = u.amount, received_currency = u.currency,
  capture_ref = u.capture_ref, reference = coalesce(p.reference, u.reference), failure = null,
  paid_at = clock(p.merchant), look_due = null
from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[])
  as u (merchant, id, amount, currency, capture_ref, reference)
where p.merchant = u.merchant and p.id = u.id and p.state <> 'paid' returning p.*
"""
# A fee that is not known yet is looked for again after five minutes, then after an hour, and then
# no more.
_FEE_DUE = """
update florin.payment set look_due = case
  when not $3 then null
  when clock(merchant) < paid_at + interval '5 minutes'
    then clock_timestamp() + interval '5 minutes'
  when clock(merchant) < paid_at + interval '1 hour' then clock_timestamp() + interval '1 hour'
end
where merchant = $1 and id = $2
"""
# With what the order's event says of its merchant and of all attempts to pay it, as `find_order`
# has it, which would read again what is known here.
_FULFILLED = """
update florin.orders o set state = 'fulfilled', paid_by = u.payment, paid_at = clock(o.merchant)
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as u (merchant, id, payment)
join florin.merchant m on m.id = u.merchant
where o.merchant = u.merchant and o.id = u.id and o.paid_by is null
returning o.*, m.timezone, m.country,
  (select z.id from florin.payment z where z.merchant = o.merchant and z.orders = o.id
    order by z.attempt desc limit 1) as payment,
  (select sum(z.refunded)::bigint from florin.payment z
    where z.merchant = o.merchant and z.orders = o.id) as refunded,
  exists (select from florin.payment z join florin.dispute d
    on d.merchant = z.merchant and d.payment = z.id
    where z.merchant = o.merchant and z.orders = o.id and d.state in ('open', 'lost')) as disputed
"""


class Sale(NamedTuple):
    """A payment that has its money, and its order: locked rows. `trace`: of what settles it."""

    paid: Row
    order: Row
    test: bool
    trace: str | None

    @property
    def name(self) -> tuple[UUID, UUID]:
        return self.order["merchant"], self.order["id"]


async def receive_in(tx: Tx, seen: Sequence[tuple[Row, Seen]]) -> dict[UUID, Row]:
    """Record the money of locked payments that were not paid; return them as they are then."""
    rows = await tx.all(
        _PAID,
        [row["merchant"] for row, _ in seen],
        [row["id"] for row, _ in seen],
        [said.amount for _, said in seen],
        [said.currency for _, said in seen],
        [said.capture_ref for _, said in seen],
        [said.reference for _, said in seen],
    )
    paid = {row["id"]: row for row in rows}
    assert len(paid) == len(seen)  # they are locked, and were not paid
    return paid


async def fulfil_in(
    tx: Tx, fulfilment: CardFulfilment, sales: Sequence[Sale], items: Sequence[Row]
) -> list[Row]:
    """Put the money of sales on cards; return their orders. `items`: those of the orders, in their
    order. Raises as CardFulfilment.put_on_cards does.
    """
    rows = await tx.all(
        _FULFILLED,
        [sale.order["merchant"] for sale in sales],
        [sale.order["id"] for sale in sales],
        [sale.paid["id"] for sale in sales],
    )
    fulfilled = {row["id"]: row for row in rows}
    assert len(fulfilled) == len(sales)  # they are locked, and no payment had paid them
    payments = {sale.order["id"]: sale.paid["id"] for sale in sales}
    made = await fulfilment.put_on_cards(tx, items, payments, FLORIN)
    await _enqueue_deliveries(tx, fulfilment, sales, items, made)
    events: dict[UUID, list[NewEvent]] = {}
    for sale in sales:
        merchant, order = sale.name
        row = fulfilled[order]
        theirs = [n for n, item in enumerate(items) if item["orders"] == order]
        noun = _fulfilled_order(row, [items[n] for n in theirs], [made.cards[n] for n in theirs])
        # A payment has no disputes before it is paid.
        payment = payment_from_row({**sale.paid, "disputed": False})
        events.setdefault(merchant, []).extend(
            (
                payment_event("payment.paid", sale.paid["id"], payment),
                order_event("order.paid", order, noun),
                order_event("order.fulfilled", order, noun),
            )
        )
    for merchant in sorted(events):
        await record_events(tx, merchant, events[merchant], FLORIN)
    return [fulfilled[sale.order["id"]] for sale in sales]


async def _enqueue_deliveries(
    tx: Tx,
    fulfilment: CardFulfilment,
    sales: Sequence[Sale],
    items: Sequence[Row],
    made: FulfilledItems,
) -> None:
    """The cards to their recipients, the receipts to the buyers."""
    order_of = {
        card: item["orders"]
        for item, cards in zip(items, made.cards, strict=True)
        for card in cards
    }
    traces = {sale.order["id"]: sale.trace for sale in sales}
    deliveries = [
        msgspec.structs.replace(each, trace=traces[order_of[each.card]])
        for each in made.deliveries
        if each.card is not None
    ]
    for sale in sales:
        sold = [
            {**item, "name": item["program_name"], "top_up": item["card"] is not None}
            for item in items
            if item["orders"] == sale.order["id"]
        ]
        receipts = receipts_of(sale.order, sold, sale.paid["provider"], test=sale.test)
        deliveries += [msgspec.structs.replace(each, trace=sale.trace) for each in receipts]
    await fulfilment.enqueue_deliveries(tx, deliveries)


def _fulfilled_order(row: Row, items: Sequence[Row], cards: Sequence[Sequence[UUID]]) -> Order:
    """The order of a row of _FULFILLED, as the API shows it."""
    places = {place for item in items for place in item["places"] or (row["country"],)}
    facts = {**row, "places": sorted(places), "payment_state": "paid", "pay_url": None}
    shown = [{**item, "cards": each} for item, each in zip(items, cards, strict=True)]
    return order_from_rows(facts, shown)


def difference(row: Row, seen: Seen, *, real_money: bool) -> str | None:
    """What of the money differs from the payment; None if nothing does."""
    if seen.ours != row["id"]:
        return "the gateway's object names another payment"
    if row["reference"] is not None and seen.reference != row["reference"]:
        return "the gateway's object is not the one that was made for this payment"
    if seen.currency != row["currency"]:
        return f"paid in {seen.currency} instead of {row['currency']}"
    if seen.amount != row["amount"]:
        return f"paid {seen.amount} instead of {row['amount']}"
    if seen.real_money != real_money:
        return f"paid with {'real' if seen.real_money else 'test'} money"
    return None


async def record_fee_in(tx: Tx, row: Row, seen: Seen) -> None:
    """The gateway's fees for a locked payment so far: it keeps them, also for disputes, in the
    currency in which the account is settled. An account that is settled in another one since
    the first fee shows sums that cannot be compared. A fee that the gateway does not know yet is
    looked for later.
    """
    if seen.fee_pending or row["look_due"] is not None:
        await tx.run(_FEE_DUE, row["merchant"], row["id"], seen.fee_pending)
    known = row["fee_currency"] or row["received_currency"]
    currency = seen.fee_currency or known
    if row["fee"] > 0 and currency != known:
        _log.warning("the currency of a fee has changed", payment=row["id"].hex)
        return
    if (more := seen.fee - row["fee"]) > 0:
        await post_gateway(
            tx, row["merchant"], "gateway_fee", currency, more, row["id"], actor=FLORIN
        )
        await tx.run(
            "update florin.payment set fee = $3, fee_currency = $4 where merchant = $1 and id = $2",
            row["merchant"],
            row["id"],
            seen.fee,
            currency,
        )
