"""State changes: activate, block, unblock, close and reinstate a card.

A card that is already in the state is returned unchanged. A refusal names the state that prevents
the change.
"""

from datetime import datetime
from typing import cast
from uuid import UUID

import msgspec

from florin.cards.card import Card, State, find_card
from florin.cards.request_context import RequestContext
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import Database
from florin.ledger.post import Ledger, Posting, PostResult


class _Answer(msgspec.Struct, kw_only=True):
    """The first answer to a key, as the ledger stores it."""

    state: str
    balance: int
    held: int
    expires_at: datetime | None
    blocked: bool = False


async def change_state(
    ledger: Ledger, database: Database, context: RequestContext, operation: str, card: UUID
) -> tuple[Card, PostResult]:
    """Change the state of a card; return the card as it is after the change."""
    posted = await ledger.post(
        Posting(
            merchant=context.merchant,
            op=operation,
            actor=context.actor,
            key=context.key,
            fingerprint=fingerprint(operation, card.hex),
            card=card,
            location=context.location,
        )
    )
    return await answered_card(database, context, card, posted), posted


async def answered_card(
    database: Database, context: RequestContext, card: UUID, posted: PostResult
) -> Card:
    """The card as it was right after the posting, also when its key is repeated."""
    current = await find_card(database, context.merchant, card)
    answer = await _first_answer(database, context) if posted.recalled else None
    if answer is None:
        answer = _Answer(
            state=posted.state or current.state,
            balance=posted.balance if posted.state else current.balance,
            held=posted.held if posted.state else current.held,
            expires_at=posted.expires_at if posted.state else current.expires_at,
            blocked=current.blocked,
        )
    return msgspec.structs.replace(
        current,
        state=cast("State", answer.state),
        balance=answer.balance,
        held=answer.held,
        available=answer.balance - answer.held,
        expires_at=answer.expires_at,
        blocked=answer.blocked,
    )


async def _first_answer(database: Database, context: RequestContext) -> _Answer | None:
    row = await database.one(
        "select answer from florin.idempotency where merchant = $1 and key = $2",
        context.merchant,
        context.key,
    )
    if row is None or row["answer"] is None:
        return None
    return msgspec.json.decode(row["answer"], type=_Answer)


async def has_activated(database: Database, merchant: UUID, key: str) -> bool:
    """Whether the request with this key activated a card: False if it found it active already.

    The key's posting made the transfer of the activation, also when the key is repeated.
    """
    row = await database.one(
        "select t.id from florin.idempotency q"
        " join florin.transfer t on t.merchant = q.merchant and t.id = q.resource_id"
        " where q.merchant = $1 and q.key = $2 and t.kind = 'activate'",
        merchant,
        key,
    )
    return row is not None
