"""Pricing: compare the items of orders with what their programs allow."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from florin.cards.card import parse_card_id
from florin.kit import ids
from florin.kit.amounts import is_known_locale
from florin.kit.errors import InvalidRequest
from florin.kit.postgres.database import Row, Tx
from florin.ledger.refusals import (
    BY_OUTCOME,
    AmountNotAllowed,
    BalanceLimitExceeded,
    CardNotFound,
    CurrencyMismatch,
    ProgramNotFound,
)
from florin.merchants.vat import Vat, vat_from_row
from florin.orders.order import OrderItemRequest, OrderRequest
from florin.orders.order_rows import PricedItem

Programs = Mapping[tuple[UUID, UUID], Row]  # by merchant and id

_PROGRAMS = """
select p.merchant, p.id, p.currency, p.min_amount, p.max_amount, p.denominations, p.vat_country,
  p.vat_rate
from florin.program p join unnest($1::uuid[], $2::uuid[]) as u (merchant, id)
  on p.merchant = u.merchant and p.id = u.id
"""
# What would keep a top-up from its card, found before it is paid: afterwards it goes to review.
_CARD = """
select a.program, a.max_balance, a.balance, case when a.state in ('active', 'blocked')
  and a.expires_at <= clock($1) then 'expired' else a.state::text end as state,
  c.vat_country, c.vat_rate
from florin.account a join florin.card c on c.merchant = a.merchant and c.id = a.id
where a.merchant = $1 and a.id = $2
"""
_REFUSED = {
    "pending": "card_not_active",
    "blocked": "card_blocked",
    "expired": "card_expired",
    "closed": "card_closed",
}


async def read_programs(tx: Tx, orders: Iterable[tuple[UUID, OrderRequest]]) -> Programs:
    """The programs of the items of orders, each of a merchant."""
    wanted = {
        (merchant, program)
        for merchant, request in orders
        for item in request.items
        if (program := ids.parse_id("prg", item.program)) is not None
    }
    rows = await tx.all(
        _PROGRAMS, [merchant for merchant, _ in wanted], [program for _, program in wanted]
    )
    return {(row["merchant"], row["id"]): row for row in rows}


async def price_items(
    tx: Tx, merchant: UUID, request: OrderRequest, programs: Programs, most: int
) -> list[PricedItem]:
    """Check the items against their programs; all have one currency."""
    if request.locale is not None and not is_known_locale(request.locale):
        detail = f"{request.locale} is not a known language tag; give one such as en or pt-BR"
        raise InvalidRequest(detail, param="locale")
    items: list[PricedItem] = []
    currency = ""
    for n, item in enumerate(request.items):
        program = ids.parse_id("prg", item.program)
        row = program and programs.get((merchant, program))
        if program is None or not row:
            raise ProgramNotFound(param=f"items[{n}].program")
        allowed = row["denominations"] or [item.amount]
        card, vat = None, vat_from_row(row)
        if item.card is not None:
            card = parse_card_id(item.card, param=f"items[{n}].card")
            vat = await _check_top_up(tx, merchant, item, program, card, n)
        elif not row["min_amount"] <= item.amount <= row["max_amount"] or (
            item.amount not in allowed
        ):
            raise AmountNotAllowed(param=f"items[{n}].amount")
        if currency and row["currency"] != currency:
            detail = f"all items of an order have one currency, {currency}"
            raise CurrencyMismatch(detail, param=f"items[{n}].program")
        currency = row["currency"]
        items.append(PricedItem(item, program, card, currency, vat))
    cards = sum(item.request.count for item in items)
    if cards > most:
        raise InvalidRequest(f"an order has at most {most} cards, not {cards}", param="items")
    return items


async def _check_top_up(
    tx: Tx, merchant: UUID, item: OrderItemRequest, program: UUID, card: UUID, n: int
) -> Vat:
    """Raises a refusal, or returns the VAT of the card."""
    row = await tx.one(_CARD, merchant, card)
    if row is None or row["program"] != program:
        raise CardNotFound(param=f"items[{n}].card")
    if (refused := BY_OUTCOME.get(_REFUSED.get(row["state"], ""))) is not None:
        raise refused(param=f"items[{n}].card")
    if row["max_balance"] is not None and row["balance"] + item.amount > row["max_balance"]:
        raise BalanceLimitExceeded(param=f"items[{n}].amount")
    if item.count != 1 or item.recipient is not None:
        detail = "a top-up is of one card and has no recipient"
        raise InvalidRequest(detail, param=f"items[{n}].count")
    return vat_from_row(row)
