"""Top-up offer: what the holder of a card may put on it."""

from dataclasses import dataclass

from florin.cards.page_facts import CardPageFacts
from florin.kit.postgres.database import Database
from florin.merchants.program import PROGRAMS, Program, program_from_row
from florin.web.customer.gift import offered_amounts
from florin.web.customer.shop import ShopFront
from florin.web.formats import currency_exponent

_CARD = """
select program, max_balance - balance as room from florin.account where merchant = $1 and id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpOffer:
    """What may be put on a card, in minor units: one of `amounts`, or with `free` anything from
    `low` to `high`.
    """

    program: Program
    amounts: list[int]
    low: int
    high: int

    @property
    def free(self) -> bool:
        return self.program.denominations is None and self.low < self.high

    def allows(self, minor: int) -> bool:
        if self.program.denominations is not None:
            return minor in self.amounts
        return self.low <= minor <= self.high


async def find_offer(database: Database, shop: ShopFront, card: CardPageFacts) -> TopUpOffer | None:
    """What may be put on a card; None unless it is active, its shop is open and sells its program,
    and something fits.
    """
    if card.state != "active" or shop.home is None:
        return None
    account = await database.one(_CARD, card.merchant_id, card.card)
    assert account is not None, "cards are never deleted"
    row = await database.one(f"{PROGRAMS} and p.id = $2", card.merchant_id, account["program"])
    assert row is not None
    program = program_from_row(row)
    if not program.for_sale or program.imported_codes:
        return None
    high = program.max_amount
    if account["room"] is not None:
        high = min(high, account["room"])
    unit = 10 ** currency_exponent(program.currency)
    amounts = [each for each in offered_amounts(program, unit) if each <= high]
    if high < program.min_amount or (program.denominations is not None and not amounts):
        return None
    return TopUpOffer(program=program, amounts=amounts, low=program.min_amount, high=high)
