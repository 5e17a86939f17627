"""Service: the verbs that move it: redeem, refund, load, transfer, adjust; hold, capture, void.

Each takes who asks and what was asked, posts one item to the ledger and answers with its noun.
A key that was used before is answered with the first answer again, read from the ledger's rows.
"""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from florin.cards import requests
from florin.cards.card import parse_card_id
from florin.cards.code_guessing import CodeGuessLimiter
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
from florin.kit.postgres.database import Database
from florin.ledger.post import Ledger, Posting, PostResult
from florin.ledger.refusals import CardNotFound, HoldNotFound, RedemptionNotFound

Noun = TypeVar("Noun", Refund, Load, Transfer, Adjustment, Redemption)

_NO_METADATA: dict[str, str] = {}

# A redemption as first answered: nothing was refunded then.
_TRANSFER = """
select t.* from florin.transfer t where t.merchant = $1 and t.id = $2
"""
_HOLD = "select h.* from florin.hold h where h.merchant = $1 and h.id = $2"


class Transactions:
    """The verbs, over a ledger."""

    def __init__(
        self, ledger: Ledger, database: Database, peppers: Sequence[str], guesses: CodeGuessLimiter
    ) -> None:
        self.ledger = ledger
        self._database = database
        self.guesses = guesses
        self._peppers = [pepper.encode() for pepper in peppers]

    def spending(self, asked: RequestContext, op: str, want: requests.SpendRequest) -> Posting:
        """Make the item of a redemption or a hold. Raises InvalidRequest, CodeMalformed, …"""
        return spend_posting(self._peppers, asked, op, want)

    async def _spend(
        self, asked: RequestContext, op: str, want: requests.SpendRequest
    ) -> tuple[Posting, PostResult]:
        async def attempt() -> tuple[Posting, PostResult]:
            posting = self.spending(asked, op, want)
            return posting, await self.ledger.post(posting)

        return await (
            attempt() if want.code is None else self.guesses.watch(asked, want.code, attempt)
        )

    async def redeem(
        self, asked: RequestContext, want: requests.RedemptionRequest
    ) -> tuple[Redemption, PostResult]:
        posting, posted = await self._spend(asked, "redeem", want)
        return await self.redemption(posting, posted, want), posted

    async def redemption(
        self, posting: Posting, posted: PostResult, want: requests.RedemptionRequest
    ) -> Redemption:
        """The redemption that came of an item."""
        if posted.recalled:
            return await self._moved(Redemption, posting.merchant, posted.id)
        assert posted.card is not None
        assert posted.at is not None
        return Redemption(
            id=ids.show_id("red", ids.NONE if want.simulate else posted.id),
            card=ids.show_id("crd", posted.card),
            amount=posted.amount,
            currency=posted.currency,
            balance=posted.balance,
            reference=want.reference,
            location=posting.location,
            metadata=want.metadata or _NO_METADATA,
            created_at=posted.at,
        )

    async def refund(
        self, asked: RequestContext, want: requests.RefundRequest
    ) -> tuple[Refund, PostResult]:
        redemption = ids.parse_id("red", want.redemption)
        if redemption is None:
            raise RedemptionNotFound
        given = None if want.location is msgspec.UNSET else want.location
        location = location_of(asked, given)
        await require_own(self._database, asked, OF_REDEMPTION, redemption)
        return await self._move(Refund, asked, "refund", want, other=redemption, location=location)

    async def load(
        self, asked: RequestContext, want: requests.LoadRequest
    ) -> tuple[Load, PostResult]:
        return await self._move(Load, asked, "load", want, card=parse_card_id(want.card))

    async def transfer(
        self, asked: RequestContext, want: requests.TransferRequest
    ) -> tuple[Transfer, PostResult]:
        if want.from_ == want.to:
            raise InvalidRequest("a card cannot pay itself", param="to")
        payer, paid = parse_card_id(want.from_, param="from"), parse_card_id(want.to, param="to")
        return await self._move(Transfer, asked, "transfer", want, card=payer, other=paid)

    async def adjust(
        self, asked: RequestContext, want: requests.AdjustmentRequest
    ) -> tuple[Adjustment, PostResult]:
        if want.amount == 0:
            raise InvalidRequest("an adjustment of nothing changes nothing", param="amount")
        return await self._move(
            Adjustment, asked, "adjust", want, card=parse_card_id(want.card), reason=want.reason
        )

    async def hold(
        self, asked: RequestContext, want: requests.HoldRequest
    ) -> tuple[Hold, PostResult]:
        _, posted = await self._spend(asked, "hold", want)
        hold = await self._hold(asked.merchant, posted.id)
        # As first answered, whatever became of it since.
        return msgspec.structs.replace(hold, state="open", captured=0, redemption=None), posted

    async def capture(
        self, asked: RequestContext, hold: str, want: requests.CaptureRequest
    ) -> tuple[Hold, PostResult]:
        return await self._resolve(asked, "capture", hold, want.amount, want.location)

    async def void(
        self, asked: RequestContext, hold: str, want: requests.VoidRequest
    ) -> tuple[Hold, PostResult]:
        return await self._resolve(asked, "void", hold, None, want.location)

    async def _resolve(
        self, asked: RequestContext, op: str, hold: str, amount: int | None, given: str | None
    ) -> tuple[Hold, PostResult]:
        uuid = ids.parse_id("hld", hold)
        if uuid is None:
            raise HoldNotFound
        location = location_of(asked, given)
        await require_own(self._database, asked, OF_HOLD, uuid)
        # Without a location as before there was one: a repetition may come after an upgrade.
        said = () if given is None else (given,)
        posted = await self.ledger.post(
            Posting(
                merchant=asked.merchant,
                op=op,
                actor=asked.actor,
                key=asked.key,
                fingerprint=fingerprint(op, hold, amount, *said),
                other=uuid,
                amount=amount,
                location=location,
            )
        )
        return await self._hold(asked.merchant, uuid), posted

    async def _move(
        self,
        noun: type[Noun],
        asked: RequestContext,
        op: str,
        want: requests.Movement,
        *,
        card: UUID | None = None,
        other: UUID | None = None,
        reason: str | None = None,
        location: str | None = None,
    ) -> tuple[Noun, PostResult]:
        posted = await self.ledger.post(
            Posting(
                merchant=asked.merchant,
                op=op,
                actor=asked.actor,
                key=asked.key,
                fingerprint=fingerprint(op, want),
                card=card,
                other=other,
                amount=want.amount,
                reference=want.reference,
                location=location or asked.location,
                reason=reason,
                metadata=_json(want.metadata),
            )
        )
        return await self._moved(noun, asked.merchant, posted.id), posted

    async def _moved(self, noun: type[Noun], merchant: UUID, transfer: UUID) -> Noun:
        row = await self._database.one(_TRANSFER, merchant, transfer)
        if row is None:
            raise CardNotFound
        moved = transaction_from_row(row)
        assert isinstance(moved, noun)
        return moved

    async def _hold(self, merchant: UUID, hold: UUID) -> Hold:
        row = await self._database.one(_HOLD, merchant, hold)
        if row is None:
            raise HoldNotFound
        return hold_from_row(row)


def _json(metadata: dict[str, Any] | None) -> str | None:
    return msgspec.json.encode(metadata, order="sorted").decode() if metadata else None
