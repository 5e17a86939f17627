"""Requests: the bodies of the routes for cards. An unknown field is refused."""

from typing import Annotated

import msgspec
from msgspec import Meta

from florin.cards.card import Recipient
from florin.cards.delivery_plan import DeliverRequest
from florin.kit.http.body import (
    Amount,
    Currency,
    Instant,
    LongText,
    Metadata,
    Request,
    SignedAmount,
    Text,
)

HOLD_MAX_S = 31_536_000  # a year
BATCH_MAX = 1000
BATCH_ITEM_MAX = 128 * 1024  # bytes: the longest valid item is shorter in any script

CodeText = Annotated[str, Meta(min_length=1, max_length=64, description="The card's code.")]
PinText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32,
        description="The card's PIN, where it has one: six digits.",
        examples=["482913"],
    ),
]
Seconds = Annotated[int, Meta(ge=1, le=HOLD_MAX_S)]


class CardRequest(Request, kw_only=True):
    """Issue a card of a program. With `activate` false it stays pending. `pin`: whether it has
    a PIN; by default as in its program. `deliver`: how its recipient gets it. `expires_at`: instead
    of the date by its program; a pending card keeps it when it is activated. `reference`: your own
    name of the card, such as the number of a sale, which no other card of yours may have.
    """

    program: str
    amount: Amount
    recipient: Recipient | None = None
    activate: bool = True
    metadata: Metadata | None = None
    pin: bool | msgspec.UnsetType = msgspec.UNSET
    # If unset, it is not part of the fingerprint, as before the field existed.
    deliver: DeliverRequest | msgspec.UnsetType = msgspec.UNSET
    expires_at: Instant | msgspec.UnsetType = msgspec.UNSET
    reference: Text | msgspec.UnsetType = msgspec.UNSET


class CardChange(Request, kw_only=True):
    """A field that is left out is not changed; `recipient: null` removes the recipient."""

    recipient: Recipient | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType = msgspec.UNSET


class ExtendRequest(Request, kw_only=True):
    """A later expiry date of a card, and why."""

    expires_at: Instant
    reason: LongText


class LookupRequest(Request, kw_only=True):
    code: CodeText


class SpendRequest(Request, kw_only=True):
    """Give exactly one of `code` and `card`. With `code`, give `pin` if the card has a PIN."""

    code: CodeText | None = None
    pin: PinText | None = None
    card: str | None = None
    amount: Amount
    currency: Currency
    reference: Text | None = None
    location: Text | None = None
    metadata: Metadata | None = None


class RedemptionRequest(SpendRequest, kw_only=True):
    """Spend from a card. `allow_remainder`: spend less if the card has less."""

    allow_remainder: bool = False
    simulate: bool = False


class BatchRedemption(RedemptionRequest, kw_only=True):
    """A redemption of a batch, with its own idempotency key."""

    idempotency_key: str | None = None


class BatchRequest(Request, kw_only=True):
    """Up to 1000 redemptions; each succeeds or fails on its own, once for its key."""

    redemptions: msgspec.Raw  # read item by item


class BatchBody(Request, kw_only=True):
    """BatchRequest as documented. Items are decoded one by one, so that each fails on its own."""

    redemptions: Annotated[list[BatchRedemption], Meta(min_length=1, max_length=BATCH_MAX)]


class HoldRequest(SpendRequest, kw_only=True):
    """Reserve money for `expires_in` seconds."""

    expires_in: Seconds = 600


class CaptureRequest(Request, kw_only=True):
    """Without `amount` the whole hold is captured; after a part, the rest is released. `location`:
    the hold's by default.
    """

    amount: Amount | None = None
    location: Text | None = None


class VoidRequest(Request, kw_only=True):
    """`location`: where the hold is voided."""

    location: Text | None = None


class CashOutRequest(Request, kw_only=True):
    """Pay `amount`, or all that is available. Without the scope cards:spend-by-id give the `code`
    of the card, and its `pin` if it has one.
    """

    amount: Amount | None = None
    code: CodeText | None = None
    pin: PinText | None = None
    reference: Text | None = None
    location: Text | None = None
    metadata: Metadata | None = None


class RefundRequest(Request, kw_only=True):
    """Return money of a redemption to its card: `amount`, or all that is not refunded yet.
    `location`: the redemption's by default.
    """

    redemption: str
    amount: Amount | None = None
    reference: Text | None = None
    metadata: Metadata | None = None
    # If unset, it is not part of the fingerprint, as before the field existed.
    location: Text | msgspec.UnsetType | None = msgspec.UNSET


class LoadRequest(Request, kw_only=True):
    """Add money to a card."""

    card: str
    amount: Amount
    reference: Text | None = None
    metadata: Metadata | None = None


class TransferRequest(Request, kw_only=True):
    """Move money from one card to another. `from_blocked`: by an owner, with a `reason`, also from
    a blocked card, which stays blocked.
    """

    from_: str = msgspec.field(name="from")
    to: str
    amount: Amount
    reference: Text | None = None
    metadata: Metadata | None = None
    reason: LongText | msgspec.UnsetType = msgspec.UNSET
    from_blocked: bool | msgspec.UnsetType = msgspec.UNSET


class AdjustmentRequest(Request, kw_only=True):
    """Correct a balance by hand. `from_blocked`: by an owner, write money of a blocked card off; it
    stays blocked.
    """

    card: str
    amount: SignedAmount
    reason: LongText
    reference: Text | None = None
    metadata: Metadata | None = None
    from_blocked: bool | msgspec.UnsetType = msgspec.UNSET


Movement = RefundRequest | LoadRequest | TransferRequest | AdjustmentRequest
