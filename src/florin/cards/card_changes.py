"""Card changes: correct the recipient and metadata of a card, and extend its time."""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from florin.cards.card import Card, Recipient, find_card
from florin.cards.delivery_plan import refuse_phone
from florin.cards.request_context import RequestContext
from florin.cards.requests import CardChange, ExtendRequest
from florin.cards.state_changes import answered_card
from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import fingerprint
from florin.kit.json_text import json_text
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import Database
from florin.kit.timestamps import in_utc
from florin.ledger.post import Ledger, Posting, PostResult
from florin.ledger.refusals import BY_OUTCOME

_CHANGE = "select outcome from change_card($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


async def change_card(
    database: Database, context: RequestContext, card: UUID, request: CardChange
) -> tuple[Card, bool]:
    """Change what is given. Returns the card, and whether its key was used before.

    Raises InvalidRequest, CardNotFound, CardClosed, IdempotencyKeyReused, Overloaded.
    """
    if request.recipient is msgspec.UNSET and request.metadata is msgspec.UNSET:
        raise InvalidRequest("give recipient or metadata, or both")
    recipient = Recipient() if request.recipient in (msgspec.UNSET, None) else request.recipient
    assert isinstance(recipient, Recipient)
    if recipient.phone is not msgspec.UNSET:
        await find_card(database, context.merchant, card)  # another's card is not there
        refuse_phone(recipient)
    async with database.connection() as connection:
        try:
            outcome: str = await connection.fetchval(
                _CHANGE,
                context.merchant,
                card,
                ids.new_id(),
                request.recipient is not msgspec.UNSET,
                recipient.name,
                recipient.email,
                None if request.metadata is msgspec.UNSET else json_text(request.metadata),
                context.key,
                fingerprint("change-card", card.hex, request),
                context.actor,
            )
        except asyncpg.LockNotAvailableError:
            outcome = "busy"
    if outcome not in {"ok", "replayed"}:
        raise BY_OUTCOME[outcome]
    record_commit()
    return await find_card(database, context.merchant, card), outcome == "replayed"


async def extend_card(
    ledger: Ledger,
    database: Database,
    context: RequestContext,
    card: UUID,
    request: ExtendRequest,
) -> tuple[Card, PostResult]:
    """Give a card a later expiry date; one that it has already changes nothing."""
    posted = await ledger.post(
        extension(
            context.merchant,
            card,
            in_utc(request.expires_at, param="expires_at"),
            request.reason,
            actor=context.actor,
            key=context.key,
            location=context.location,
        )
    )
    return await answered_card(database, context, card, posted), posted


def extension(
    merchant: UUID,
    card: UUID,
    until: datetime,
    reason: str,
    *,
    actor: str,
    key: str | None = None,
    location: str | None = None,
) -> Posting:
    return Posting(
        merchant=merchant,
        op="extend",
        actor=actor,
        key=key,
        fingerprint=fingerprint("extend", card.hex, until.isoformat(), reason),
        card=card,
        until=until,
        reason=reason,
        location=location,
    )
