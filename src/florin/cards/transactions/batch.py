"""Batch: many redemptions of one request; each succeeds or fails on its own."""

from collections.abc import Sequence

from florin.cards.request_context import RequestContext
from florin.cards.requests import RedemptionRequest
from florin.cards.transactions.models import Redemption
from florin.cards.transactions.service import Transactions
from florin.kit.errors import Refusal
from florin.ledger.batching import MANY_MAX
from florin.ledger.post import Posting, PostResult

Item = tuple[RequestContext, RedemptionRequest]
Redeemed = tuple[Redemption, PostResult, bool]  # whether it was only simulated


async def redeem_items(money: Transactions, items: Sequence[Item]) -> list[Redeemed | Refusal]:
    """Part by part, so that who guesses is known before the next part is tried."""
    answers: list[Redeemed | Refusal] = []
    for start in range(0, len(items), MANY_MAX):
        part = items[start : start + MANY_MAX]
        tried = zip(part, await _redeem(money, part), strict=True)
        codes = [(want.code, answer) for (_, want), answer in tried]
        answers.extend(await money.guesses.record_batch(part[0][0], codes))
    return answers


async def _redeem(money: Transactions, items: Sequence[Item]) -> list[Redeemed | Refusal]:
    read = [await _read(money, *item) for item in items]
    postings = [each for each in read if isinstance(each, Posting)]
    posted = iter(await money.ledger.post_all(postings))
    answers: list[Redeemed | Refusal] = []
    for (_, want), posting in zip(items, read, strict=True):
        if isinstance(posting, Refusal):
            answers.append(posting)
            continue
        came = next(posted)
        if isinstance(came, Refusal):
            answers.append(came)
        else:
            answers.append((await money.redemption(posting, came, want), came, want.simulate))
    return answers


async def _read(
    money: Transactions, asked: RequestContext, want: RedemptionRequest
) -> Posting | Refusal:
    try:
        if want.code is not None:
            await money.guesses.admit(asked, want.code)
        return money.spending(asked, "redeem", want)
    except Refusal as refusal:
        return refusal
