"""Batch: many redemptions in one request; each succeeds or fails on its own."""

from collections.abc import Sequence

from florin.cards.request_context import RequestContext
from florin.cards.requests import RedemptionRequest
from florin.cards.transactions.models import Redemption
from florin.cards.transactions.operations import TransactionOperations
from florin.kit.errors import Refusal
from florin.ledger.batching import MANY_MAX
from florin.ledger.post import Posting, PostResult

Item = tuple[RequestContext, RedemptionRequest]
Redeemed = tuple[Redemption, PostResult, bool]  # True when it was only simulated


async def redeem_items(
    transactions: TransactionOperations, items: Sequence[Item]
) -> list[Redeemed | Refusal]:
    """Redeem MANY_MAX items at a time: the wrong codes among them are counted before the next."""
    answers: list[Redeemed | Refusal] = []
    for start in range(0, len(items), MANY_MAX):
        part = items[start : start + MANY_MAX]
        tried = zip(part, await _redeem(transactions, part), strict=True)
        codes = [(request.code, answer) for (_, request), answer in tried]
        answers.extend(await transactions.guesses.record_batch(part[0][0], codes))
    return answers


async def _redeem(
    transactions: TransactionOperations, items: Sequence[Item]
) -> list[Redeemed | Refusal]:
    read = [await _read(transactions, *item) for item in items]
    postings = [each for each in read if isinstance(each, Posting)]
    posted = iter(await transactions.ledger.post_all(postings))
    answers: list[Redeemed | Refusal] = []
    for (_, request), posting in zip(items, read, strict=True):
        if isinstance(posting, Refusal):
            answers.append(posting)
            continue
        answer = next(posted)
        if isinstance(answer, Refusal):
            answers.append(answer)
        else:
            answers.append(
                (await transactions.redemption(posting, answer, request), answer, request.simulate)
            )
    return answers


async def _read(
    transactions: TransactionOperations, context: RequestContext, request: RedemptionRequest
) -> Posting | Refusal:
    try:
        if request.code is not None:
            await transactions.guesses.admit(context, request.code)
        return await transactions.spending(context, "redeem", request)
    except Refusal as refusal:
        return refusal
