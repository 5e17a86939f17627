"""People: what is stored of one person, as it is exported and erased.

A person is a recipient or a buyer, known by the address, or by the number to which a card was sent
by SMS. The ledger has pseudonyms only: ids of cards.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.cards.card import COLUMNS, JOINS, Card, card_from_row
from florin.cards.transactions.models import Entry
from florin.cards.transactions.queries import SIDES, entry_from_row
from florin.deliveries.channels.phone_number import NO_NUMBER, Phone, read_local_phone
from florin.deliveries.delivery import Delivery, delivery_from_row
from florin.deliveries.suppressions import SuppressionReason, list_suppressions
from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids, plain_text
from florin.kit.email_address import Email, normalized
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database, Reader, Row, Tx

CARDS_MOST, ENTRIES_MOST, DELIVERIES_MOST, ORDERS_MOST = 1000, 10_000, 10_000, 1000

_CARDS = f"""
select {COLUMNS} from florin.account a {JOINS}
where a.merchant = $1 and lower(c.recipient_email) = lower($2) order by a.issued_at, a.id limit $3
"""  # noqa: S608 -- our own text
_CARDS_BY_PHONE = f"""
select {COLUMNS} from florin.account a {JOINS}
where a.merchant = $1 and a.id = any (array(select d.card from florin.delivery d
  where d.merchant = $1 and d.card is not null and d.channel = 'sms'
    and lower(d.address) = $2))
order by a.issued_at, a.id limit $3
"""  # noqa: S608 -- our own text
_ENTRIES = f"""
select t.*, e.* from (
  select t.* from florin.transfer t where t.merchant = $1 and t.debit_card = any ($2)
  union
  select t.* from florin.transfer t where t.merchant = $1 and t.credit_card = any ($2)
) t {SIDES} where e.card = any ($2) order by t.created_at, t.id, e.side limit $3
"""  # noqa: S608 -- our own text


# Of the cards, and what was sent to the address about cards of others (erase_person.sql).
DELIVERIES = """
select d.* from florin.delivery d where d.merchant = $1 and d.card is not null
  and (d.card = any ($2) or lower(d.address) = lower($3)) order by d.id limit $4
"""
# That it placed, or that have an item for it.
_ORDERS = """
select o.id, o.number, o.state, o.amount, o.currency, o.placed_at, lower(o.buyer_email) = lower($2)
  as buyer, array(select i.message from florin.order_item i
    where i.merchant = o.merchant and i.orders = o.id and i.message is not null
    and lower(coalesce(i.recipient_email, o.buyer_email)) = lower($2) order by i.position
  ) as messages
from florin.orders o
where o.merchant = $1 and o.id = any (array(
  select b.id from florin.orders b where b.merchant = $1 and lower(b.buyer_email) = lower($2)
  union
  select i.orders from florin.order_item i
  where i.merchant = $1 and lower(i.recipient_email) = lower($2)))
order by o.placed_at, o.id limit $3
"""
_ORDERS_BY_PHONE = """
select o.id, o.number, o.state, o.amount, o.currency, o.placed_at, false as buyer,
  array(select i.message from florin.order_item i
    where i.merchant = o.merchant and i.orders = o.id and i.message is not null
    and i.deliver_phone = $2 order by i.position) as messages
from florin.orders o
where o.merchant = $1 and o.id = any (array(
  select i.orders from florin.order_item i where i.merchant = $1 and i.deliver_phone = $2))
order by o.placed_at, o.id limit $3
"""
CARDS_AND_ORDERS = ((_CARDS, _ORDERS), (_CARDS_BY_PHONE, _ORDERS_BY_PHONE))  # by address, number


class EraseRequest(Request, kw_only=True):
    """The person whose data is erased: its address, or its number."""

    email: Email | msgspec.UnsetType = msgspec.UNSET
    phone: Phone | msgspec.UnsetType = msgspec.UNSET


class PersonOrder(msgspec.Struct, kw_only=True):
    """An order that the person placed (`buyer`), or of which a card is for it. `messages`: those
    that were written to it, or by it for cards that it kept.
    """

    id: str
    number: int
    state: str
    amount: int
    currency: str
    buyer: bool
    messages: list[str]
    created_at: datetime


class Person(msgspec.Struct, kw_only=True):
    """What is stored of the person with this address or number: the cards of which it is the
    recipient, oldest first, their entries, what was or will be sent to it, and its orders.
    `suppressed`: why its address gets no gifts and reminders. `complete`: false if there is more
    than is listed.
    """

    object: Literal["person"] = "person"
    email: str | None
    phone: str | None
    cards: list[Card]
    entries: list[Entry]
    deliveries: list[Delivery]
    orders: list[PersonOrder]
    suppressed: SuppressionReason | None
    complete: bool


class Erasure(msgspec.Struct, kw_only=True):
    """What was erased: the recipient of `cards` cards, metadata with the address, and what orders
    have of the person.
    """

    object: Literal["erasure"] = "erasure"
    cards: int


async def export_person(
    reads: Reader, merchant: UUID, email: str | None, phone: str | None
) -> Person:
    """Raises InvalidRequest unless one of both is given."""
    wanted, number = await _known_by(reads, merchant, email, phone)
    known = wanted if number is None else number
    cards, placed = CARDS_AND_ORDERS[number is not None]
    rows = await reads.all(cards, merchant, known, CARDS_MOST + 1)
    found = [row["id"] for row in rows[:CARDS_MOST]]
    entries = await reads.all(_ENTRIES, merchant, found, ENTRIES_MOST + 1)
    sent = await reads.all(DELIVERIES, merchant, found, known, DELIVERIES_MOST + 1)
    orders = await reads.all(placed, merchant, known, ORDERS_MOST + 1)
    blocked = await list_suppressions(
        reads, merchant, limit=1, after=None, address=known if number else normalized(known or "")
    )
    return Person(
        email=wanted,
        phone=number,
        cards=[card_from_row(row) for row in rows[:CARDS_MOST]],
        entries=[entry_from_row(row) for row in entries[:ENTRIES_MOST]],
        deliveries=[delivery_from_row(row) for row in sent[:DELIVERIES_MOST]],
        orders=[_order_from_row(row) for row in orders[:ORDERS_MOST]],
        suppressed=blocked[0].reason if blocked else None,
        complete=len(rows) <= CARDS_MOST
        and len(entries) <= ENTRIES_MOST
        and len(sent) <= DELIVERIES_MOST
        and len(orders) <= ORDERS_MOST,
    )


def _order_from_row(row: Row) -> PersonOrder:
    return PersonOrder(
        id=ids.show_id("ord", row["id"]),
        number=row["number"],
        state=row["state"],
        amount=row["amount"],
        currency=row["currency"],
        buyer=bool(row["buyer"]),
        messages=list(row["messages"]),
        created_at=row["placed_at"],
    )


async def _known_by(
    reads: Reader | Tx, merchant: UUID, email: str | None, phone: str | None
) -> tuple[str | None, str | None]:
    """The address, or the number in E.164. Raises InvalidRequest."""
    if (email is None) == (phone is None):
        raise InvalidRequest("give either email or phone", param="email")
    if phone is None:
        return plain_text.clean_filter(email) or "", None
    number = await read_local_phone(reads, merchant, phone.strip())
    if number is None:
        raise InvalidRequest(NO_NUMBER, param="phone")
    return None, number


async def erase_person(database: Database, by: AuditActor, request: EraseRequest) -> Erasure:
    """Erase a person. The audit record counts the cards and does not name the person. Raises
    InvalidRequest unless one of both is given.
    """
    given = (request.email or None, request.phone or None)
    async with database.transaction() as tx:
        email, phone = await _known_by(tx, by.merchant, *given)
        cards: int = await tx.value("select erase_person($1, $2, $3)", by.merchant, email, phone)
        subject = ids.show_id("mer", by.merchant)
        await audit_log.record_audit(tx, by, "person.erased", subject, after={"cards": cards})
    return Erasure(cards=cards)
