"""Placing: the request of a bulk order, and its check before anything is paid."""

import asyncio
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.cards.delivery_plan import DeliverRequest
from florin.cards.jobs.import_values import Amounts
from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import AMOUNT_MAX, Amount, LongText, Metadata, Request, Text
from florin.kit.minor_units import decimals
from florin.kit.postgres.database import Database, Row
from florin.ledger.refusals import ProgramNotFound
from florin.orders.bulk.recipients import (
    LineError,
    RecipientList,
    read_recipients,
    refuse_list,
)
from florin.orders.order import (
    Buyer,
    GatewayText,
    Locale,
    OrderItemRequest,
    OrderRequest,
    ReturnUrl,
)

TEXT_MAX = 1_000_000  # characters of a list

_PROGRAM = """
select p.currency, p.min_amount, p.max_amount, p.denominations, m.country
from florin.program p join florin.merchant m on m.id = p.merchant
where p.merchant = $1 and p.id = $2
"""
RecipientText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TEXT_MAX,
        description="CSV with a line of column names: email, or phone for a delivery by SMS, and if"
        " needed name, amount, message.",
        examples=["email,name,amount\nada@example.com,Ada,2500\n"],
    ),
]


class BulkListRequest(Request, kw_only=True):
    """One card of a program for each line of `recipients`. `amount`: of lines without one.
    `amounts`: how the lines write them, in minor units or as `25.00`. `deliver`: how each recipient
    gets the card; by e-mail by default. `sms` needs the column `phone`.
    """

    program: str
    recipients: RecipientText
    amount: Amount | None = None
    amounts: Amounts = "minor"
    deliver: DeliverRequest | msgspec.UnsetType = msgspec.UNSET


class BulkOrderRequest(BulkListRequest, kw_only=True):
    """A list that is paid as one order. `message`: of lines without one. `reference`: as of an
    order.
    """

    message: LongText | None = None
    buyer: Buyer
    gateway: GatewayText | None = None
    return_url: ReturnUrl | None = None
    locale: Locale | None = None
    metadata: Metadata | None = None
    reference: Text | msgspec.UnsetType = msgspec.UNSET


class BulkOrderCheck(msgspec.Struct, kw_only=True):
    """What a bulk order would be: the number of its cards and what they cost."""

    object: Literal["bulk_order_check"] = "bulk_order_check"
    cards: int
    amount: int
    currency: str


async def check_bulk_order(
    database: Database, merchant: UUID, request: BulkListRequest
) -> tuple[RecipientList, BulkOrderCheck]:
    """Read the list and compare its amounts with the program. Raises ProgramNotFound,
    InvalidRequest with every invalid line.
    """
    program = ids.parse_id("prg", request.program)
    row = None if program is None else await database.one(_PROGRAM, merchant, program)
    if row is None:
        raise ProgramNotFound(param="program")
    # In a thread: thousands of numbers take half a second.
    listed = await asyncio.to_thread(
        partial(
            read_recipients,
            request.recipients,
            amounts=request.amounts,
            digits=decimals(row["currency"]),
            amount=request.amount,
            channel="email" if request.deliver is msgspec.UNSET else request.deliver.channel,
            country=row["country"],
        )
    )
    errors = sorted([*listed.errors, *_wrong_amounts(listed, row)], key=lambda each: each.line)
    if errors:
        raise refuse_list(errors)
    total = sum(each.amount for each in listed.recipients)
    if total > AMOUNT_MAX:
        raise InvalidRequest(
            f"the cards cost {total}, more than the {AMOUNT_MAX} of one order", param="recipients"
        )
    check = BulkOrderCheck(cards=len(listed.recipients), amount=total, currency=row["currency"])
    return listed, check


def order_of_list(request: BulkOrderRequest, listed: RecipientList) -> OrderRequest:
    """The order of the cards of a list."""
    return OrderRequest(
        items=[
            OrderItemRequest(
                program=request.program,
                amount=each.amount,
                recipient=each.recipient,
                message=each.message or request.message,
                deliver=request.deliver,
            )
            for each in listed.recipients
        ],
        buyer=request.buyer,
        gateway=request.gateway,
        return_url=request.return_url,
        locale=request.locale,
        metadata=request.metadata,
        reference=request.reference,
    )


def _wrong_amounts(listed: RecipientList, program: Row) -> list[LineError]:
    least, most, allowed = (
        program["min_amount"],
        program["max_amount"],
        program["denominations"],
    )
    return [
        LineError(
            line=each.line,
            detail=f"amount {each.amount} is not between {least} and {most}"
            if not least <= each.amount <= most
            else f"amount {each.amount} is none of {', '.join(map(str, allowed))}",
        )
        for each in listed.recipients
        if not least <= each.amount <= most or (allowed and each.amount not in allowed)
    ]
