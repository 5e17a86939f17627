"""Transactions: redeem, refund, load, transfer, adjust; hold, capture and void.

Each operation takes the context and the body of a request, posts one item to the ledger and returns
the transaction or hold. A repeated idempotency key gets the first answer again, read from the
ledger's rows.
"""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from florin.cards import requests
from florin.cards.card import parse_card_id
from florin.cards.code_guessing import CodeGuessLimiter
from florin.cards.codes import CodeMalformed
from florin.cards.imported_codes import ImportedCodes
from florin.cards.locations import OF_HOLD, OF_REDEMPTION, location_of, require_own
from florin.cards.request_context import RequestContext
from florin.cards.transactions.models import (
    Adjustment,
    Hold,
    Load,
    Redemption,
    Refund,
    Transfer,
    hold_from_row,
    transaction_from_row,
)
from florin.cards.transactions.spend import spend_posting
from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import fingerprint
from florin.kit.json_text import json_text
from florin.kit.postgres.database import Database
from florin.ledger.post import Ledger, Posting, PostResult
from florin.ledger.refusals import CardNotFound, HoldNotFound, RedemptionNotFound

TransactionT = TypeVar("TransactionT", Refund, Load, Transfer, Adjustment, Redemption)

_NO_METADATA: dict[str, str] = {}

# Without the refunds: the first answer to a redemption had `refunded` 0.
_TRANSFER = """
select t.* from florin.transfer t where t.merchant = $1 and t.id = $2
"""
_HOLD = "select h.* from florin.hold h where h.merchant = $1 and h.id = $2"


class TransactionOperations:
    """The operations that move money on cards."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        peppers: Sequence[str],
        guesses: CodeGuessLimiter,
        imported: ImportedCodes,
    ) -> None:
        self.ledger = ledger
        self._imported = imported
        self._database = database
        self.guesses = guesses
        self._peppers = [pepper.encode() for pepper in peppers]

    async def spending(
        self, context: RequestContext, op: str, request: requests.SpendRequest
    ) -> Posting:
        """Make the posting of a redemption or a hold. Raises InvalidRequest, CodeMalformed, …"""
        try:
            return spend_posting(self._peppers, context, op, request)
        except (InvalidRequest, CodeMalformed):
            if request.code is None or not await self._imported.accepts(context.merchant):
                raise
        return spend_posting(self._peppers, context, op, request, imported=True)

    async def _spend(
        self, context: RequestContext, op: str, request: requests.SpendRequest
    ) -> tuple[Posting, PostResult]:
        async def attempt() -> tuple[Posting, PostResult]:
            posting = await self.spending(context, op, request)
            return posting, await self.ledger.post(posting)

        return await (
            attempt()
            if request.code is None
            else self.guesses.watch(context, request.code, attempt)
        )

    async def redeem(
        self, context: RequestContext, request: requests.RedemptionRequest
    ) -> tuple[Redemption, PostResult]:
        posting, posted = await self._spend(context, "redeem", request)
        return await self.redemption(posting, posted, request), posted

    async def redemption(
        self, posting: Posting, posted: PostResult, request: requests.RedemptionRequest
    ) -> Redemption:
        """The redemption that a posting made."""
        if posted.recalled:
            return await self._find_transaction(Redemption, posting.merchant, posted.id)
        assert posted.card is not None
        assert posted.at is not None
        return Redemption(
            id=ids.show_id("red", ids.NONE if request.simulate else posted.id),
            card=ids.show_id("crd", posted.card),
            amount=posted.amount,
            currency=posted.currency,
            balance=posted.balance,
            reference=request.reference,
            location=posting.location,
            metadata=request.metadata or _NO_METADATA,
            created_at=posted.at,
        )

    async def refund(
        self, context: RequestContext, request: requests.RefundRequest
    ) -> tuple[Refund, PostResult]:
        redemption = ids.parse_id("red", request.redemption)
        if redemption is None:
            raise RedemptionNotFound
        given = None if request.location is msgspec.UNSET else request.location
        location = location_of(context, given)
        await require_own(self._database, context, OF_REDEMPTION, redemption)
        return await self._post(
            Refund, context, "refund", request, other=redemption, location=location
        )

    async def load(
        self, context: RequestContext, request: requests.LoadRequest
    ) -> tuple[Load, PostResult]:
        return await self._post(Load, context, "load", request, card=parse_card_id(request.card))

    async def transfer(
        self, context: RequestContext, request: requests.TransferRequest
    ) -> tuple[Transfer, PostResult]:
        if request.from_ == request.to:
            raise InvalidRequest("to must be another card than from", param="to")
        payer, paid = (
            parse_card_id(request.from_, param="from"),
            parse_card_id(request.to, param="to"),
        )
        reason = None if request.reason is msgspec.UNSET else request.reason
        if request.from_blocked is True and reason is None:
            raise InvalidRequest("from_blocked needs a reason", param="reason")
        return await self._post(
            Transfer, context, "transfer", request, card=payer, other=paid, reason=reason
        )

    async def adjust(
        self, context: RequestContext, request: requests.AdjustmentRequest
    ) -> tuple[Adjustment, PostResult]:
        if request.amount == 0:
            raise InvalidRequest("amount must not be 0", param="amount")
        return await self._post(
            Adjustment,
            context,
            "adjust",
            request,
            card=parse_card_id(request.card),
            reason=request.reason,
        )

    async def hold(
        self, context: RequestContext, request: requests.HoldRequest
    ) -> tuple[Hold, PostResult]:
        _, posted = await self._spend(context, "hold", request)
        hold = await self._find_hold(context.merchant, posted.id)
        # As in the first answer, even if the hold was captured or voided since.
        return msgspec.structs.replace(hold, state="open", captured=0, redemption=None), posted

    async def capture(
        self, context: RequestContext, hold: str, request: requests.CaptureRequest
    ) -> tuple[Hold, PostResult]:
        return await self._resolve(context, "capture", hold, request.amount, request.location)

    async def void(
        self, context: RequestContext, hold: str, request: requests.VoidRequest
    ) -> tuple[Hold, PostResult]:
        return await self._resolve(context, "void", hold, None, request.location)

    async def _resolve(
        self, context: RequestContext, op: str, hold: str, amount: int | None, given: str | None
    ) -> tuple[Hold, PostResult]:
        uuid = ids.parse_id("hld", hold)
        if uuid is None:
            raise HoldNotFound
        location = location_of(context, given)
        await require_own(self._database, context, OF_HOLD, uuid)
        # Without a location the fingerprint is the same as before the field existed: the first
        # request may have been sent before an upgrade.
        given_location = () if given is None else (given,)
        posted = await self.ledger.post(
            Posting(
                merchant=context.merchant,
                op=op,
                actor=context.actor,
                key=context.key,
                fingerprint=fingerprint(op, hold, amount, *given_location),
                other=uuid,
                amount=amount,
                location=location,
            )
        )
        return await self._find_hold(context.merchant, uuid), posted

    async def _post(
        self,
        model: type[TransactionT],
        context: RequestContext,
        op: str,
        request: requests.Movement,
        *,
        card: UUID | None = None,
        other: UUID | None = None,
        reason: str | None = None,
        location: str | None = None,
    ) -> tuple[TransactionT, PostResult]:
        posted = await self.ledger.post(
            Posting(
                merchant=context.merchant,
                op=op,
                actor=context.actor,
                key=context.key,
                fingerprint=fingerprint(op, request),
                card=card,
                other=other,
                amount=request.amount,
                reference=request.reference,
                location=location or context.location,
                reason=reason,
                metadata=json_text(request.metadata) if request.metadata else None,
                from_blocked=getattr(request, "from_blocked", None) is True,
            )
        )
        return await self._find_transaction(model, context.merchant, posted.id), posted

    async def _find_transaction(
        self, model: type[TransactionT], merchant: UUID, transfer: UUID
    ) -> TransactionT:
        row = await self._database.one(_TRANSFER, merchant, transfer)
        if row is None:
            raise CardNotFound
        transaction = transaction_from_row(row)
        assert isinstance(transaction, model)
        return transaction

    async def _find_hold(self, merchant: UUID, hold: UUID) -> Hold:
        row = await self._database.one(_HOLD, merchant, hold)
        if row is None:
            raise HoldNotFound
        return hold_from_row(row)
