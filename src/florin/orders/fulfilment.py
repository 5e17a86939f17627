"""Fulfilment: issue and top up the cards of a paid order, in the transaction that settles it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from florin.cards import codes, pins
from florin.cards.delivering import CardDeliveries, IssuedCard
from florin.deliveries.delivery import NewDelivery, enqueue_deliveries
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Row, Tx
from florin.ledger.issue import Issuance, issue_paid_in
from florin.ledger.post import Posting, post_rows_in
from florin.ledger.refusals import BY_OUTCOME
from florin.orders.item_delivery import plan_of_item

CARD_WAIT_MS = 2000  # for a card that another transaction uses

_FACTS = """
select i.*, p.pin, p.name as program_name, p.places, o.locale,
  coalesce(i.recipient_email, o.buyer_email) as address
from florin.order_item i
join florin.orders o on o.merchant = i.merchant and o.id = i.orders
join florin.program p on p.merchant = i.merchant and p.id = i.program
"""
ITEMS = f"{_FACTS} where i.merchant = $1 and i.orders = $2"
_ITEMS_OF_ORDERS = f"""{_FACTS}
join unnest($1::uuid[], $2::uuid[]) with ordinality as u (merchant, orders, n)
  on u.merchant = i.merchant and u.orders = i.orders
order by u.n, i.position
"""
_CLAIM = """
insert into florin.order_card (merchant, item, position, card, amount)
select * from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::bigint[])
"""


class FulfilledItems(NamedTuple):
    """What was put on the cards of items. `cards`: of each item, in the order of the items;
    `deliveries`: those of new cards, which remain to be enqueued.
    """

    cards: list[list[UUID]]
    deliveries: list[NewDelivery]


async def read_items(tx: Tx, orders: Sequence[tuple[UUID, UUID]]) -> Sequence[Row]:
    """The items of orders, each a merchant and an order, in their order."""
    return await tx.all(
        _ITEMS_OF_ORDERS, [merchant for merchant, _ in orders], [order for _, order in orders]
    )


class CardFulfilment:
    """Makes the cards of orders and their deliveries, to the recipient or else to the buyer."""

    def __init__(self, pepper: str, sealer: Sealer, deliveries: CardDeliveries) -> None:
        self._pepper = pepper.encode()
        self._sealer = sealer
        self._deliveries = deliveries

    async def put_on_cards(
        self, tx: Tx, items: Sequence[Row], payments: Mapping[UUID, UUID], actor: str
    ) -> FulfilledItems:
        """Issue and top up the cards of items, which are rows of ITEMS. `payments`: of each order,
        the payment that pays it. The key of `order_card` admits each card once.

        Raises Overloaded, a refusal of the ledger, and asyncpg.UniqueViolationError when a code is
        in use already: the transaction must be given up then.
        """
        issuances: list[Issuance] = []
        sent: list[IssuedCard] = []
        cards: list[list[UUID]] = []
        top_ups: list[Posting] = []
        claims: list[tuple[UUID, UUID, int, UUID, int]] = []
        for item in items:
            merchant, payment = item["merchant"], payments[item["orders"]]
            cards.append([])
            for position in range(item["count"]):
                if item["card"] is None:
                    code, pin = codes.make_code(), pins.make_pin() if item["pin"] else ""
                    issuance = self._issuance(item, code, pin, payment, actor)
                    issuances.append(issuance)
                    card = issuance.id
                    if (plan := plan_of_item(item)) is not None:
                        sent.append(IssuedCard(merchant, card, code + pin, plan))
                else:
                    card = item["card"]
                    top_ups.append(_top_up(item, payment, actor))
                cards[-1].append(card)
                claims.append((merchant, item["id"], position, card, item["amount"]))
        await tx.run(_CLAIM, *(list(column) for column in zip(*claims, strict=True)))
        if issuances:
            await issue_paid_in(tx, issuances)
        deliveries = await self._deliveries.link_issued(tx, sent)
        for row in await post_rows_in(tx, top_ups, lock_timeout_ms=CARD_WAIT_MS):
            if row["outcome"] != "ok":
                raise BY_OUTCOME[row["outcome"]]
        return FulfilledItems(cards, deliveries)

    async def enqueue_deliveries(self, tx: Tx, new: Sequence[NewDelivery]) -> None:
        """Write the deliveries of fulfilled items, and others with the same cause."""
        await enqueue_deliveries(tx, new, self._sealer)

    def _issuance(self, item: Row, code: str, pin: str, payment: UUID, actor: str) -> Issuance:
        merchant, card = item["merchant"], ids.new_id()
        return Issuance(
            merchant=merchant,
            id=card,
            program=item["program"],
            payment=payment,
            amount=item["amount"],
            code=codes.code_hash(self._pepper, merchant, code),
            pin=pins.pin_hash(self._pepper, merchant, card, pin) if pin else None,
            last4=code[-4:],
            sealed=self._sealer.seal(code + pin, bound_to=merchant.bytes + card.bytes),
            actor=actor,
            recipient_name=item["recipient_name"],
            recipient_email=item["recipient_email"],
            client=None,
        )


def _top_up(item: Row, payment: UUID, actor: str) -> Posting:
    return Posting(
        merchant=item["merchant"],
        op="top-up",
        card=item["card"],
        other=payment,
        amount=item["amount"],
        reference=ids.show_id("pay", payment),
        actor=actor,
        client=None,
    )
