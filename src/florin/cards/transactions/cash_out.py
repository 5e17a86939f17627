"""Cash-out: pay the small balance that is left on a card to its holder."""

from uuid import UUID

import msgspec

from florin.cards import requests
from florin.cards.card import parse_card_id
from florin.cards.request_context import RequestContext
from florin.cards.transactions.models import CashOut, transaction_from_row
from florin.cards.transactions.operations import TransactionOperations
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import Database, Reader
from florin.ledger.post import Posting, PostResult
from florin.ledger.refusals import CardNotFound, CashOutNotAllowed
from florin.merchants.law.country_rules import cash_out_limit

_CARD = """
select p.currency, p.cash_out_limit, p.places, m.country,
  (clock(m.id) at time zone m.timezone)::date as today
from florin.account a
join florin.program p on p.merchant = a.merchant and p.id = a.program
join florin.merchant m on m.id = a.merchant
where a.merchant = $1 and a.id = $2
"""
_CASH_OUT = "select t.* from florin.transfer t where t.merchant = $1 and t.id = $2"


async def find_cash_out_limit(reads: Reader, merchant: UUID, card: UUID) -> int:
    """The highest balance with which a card is paid out today, in minor units: what the law of a
    place of sale says, or the program if that is more. 0: such cards are not paid out. Raises
    CardNotFound.
    """
    row = await reads.one(_CARD, merchant, card)
    if row is None:
        raise CardNotFound
    places = row["places"] or [row["country"]]
    by_law = cash_out_limit(places, row["currency"], row["today"])
    return max(by_law or 0, row["cash_out_limit"] or 0)


async def cash_out_card(
    operations: TransactionOperations,
    database: Database,
    context: RequestContext,
    card: str,
    request: requests.CashOutRequest,
) -> tuple[CashOut, PostResult]:
    """Pay a card out. Raises CashOutNotAllowed, the refusals of a redemption, and Overloaded."""
    uuid = parse_card_id(card)
    most = await find_cash_out_limit(database, context.merchant, uuid)
    posting = _paid_out(
        await operations.spending(context, "cash-out", _spend(card, request)),
        uuid,
        request.amount,
        most,
    )

    async def attempt() -> PostResult:
        return await operations.ledger.post(posting)

    try:
        posted = await (
            attempt()
            if request.code is None
            else operations.guesses.watch(context, request.code, attempt)
        )
    except CashOutNotAllowed as refused:
        raise _explained(refused, most) from None
    row = await database.one(_CASH_OUT, context.merchant, posted.id)
    assert row is not None
    made = transaction_from_row(row)
    assert isinstance(made, CashOut)
    return made, posted


def _spend(card: str, request: requests.CashOutRequest) -> requests.SpendRequest:
    """As what would be spent: by its code where one is given. The amount is set later."""
    return requests.SpendRequest(
        card=card if request.code is None else None,
        code=request.code,
        pin=request.pin,
        amount=0,
        currency="",
        reference=request.reference,
        location=request.location,
        metadata=request.metadata,
    )


def _paid_out(posting: Posting, card: UUID, amount: int | None, most: int) -> Posting:
    """The posting of a cash-out, also in its forms under previous secrets of codes."""
    assert posting.fingerprint is not None
    before = posting.previous_pepper
    return msgspec.structs.replace(
        posting,
        card=card,
        amount=amount,
        currency=None,
        most=most,
        fingerprint=fingerprint("cash-out", posting.fingerprint.hex(), card.hex, amount),
        previous_pepper=None if before is None else _paid_out(before, card, amount, most),
    )


def _explained(refused: CashOutNotAllowed, most: int) -> CashOutNotAllowed:
    if most:
        balance = refused.extra["balance"]
        detail = f"Cards with a balance of at most {most} are paid out; this one has {balance}"
    else:
        detail = (
            "No law of the program's places has cards paid out in cash, and the program has no"
            " cash_out_limit"
        )
    return CashOutNotAllowed(detail, extra=refused.extra, position=refused.position)
