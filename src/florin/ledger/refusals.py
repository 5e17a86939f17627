"""Refusals: the expected negative answers of the ledger; docs/api/refusals.md lists them."""

from florin.kit.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    Overloaded,
    Refusal,
)


class InsufficientFunds(Refusal):
    """The card does not cover this amount."""

    code = "insufficient_funds"
    status = 402


class CardExpired(Refusal):
    """The card has expired."""

    code = "card_expired"
    status = 402


class CardBlocked(Refusal):
    """The card is blocked."""

    code = "card_blocked"
    status = 402


class CardNotActive(Refusal):
    """The card is not active yet."""

    code = "card_not_active"
    status = 402


class CardClosed(Refusal):
    """The card is closed."""

    code = "card_closed"
    status = 402


class CardNotEmpty(Refusal):
    """The card still has a balance or an open hold."""

    code = "card_not_empty"
    status = 402


class CardNotDue(Refusal):
    """The card has not reached its expiry date."""

    code = "card_not_due"
    status = 402


class PartialRedemptionNotAllowed(Refusal):
    """A card of this program can only be redeemed for its whole balance."""

    code = "partial_redemption_not_allowed"
    status = 402


class CashOutNotAllowed(Refusal):
    """A card with this balance is not paid out in cash."""

    code = "cash_out_not_allowed"
    status = 402


class RefundExceedsRedemption(Refusal):
    """The refunds would exceed the amount of the redemption."""

    code = "refund_exceeds_redemption"
    status = 402


class CaptureExceedsHold(Refusal):
    """The capture would exceed the amount of the hold."""

    code = "capture_exceeds_hold"
    status = 402


class HoldNotOpen(Refusal):
    """The hold was already captured or voided, or it expired."""

    code = "hold_not_open"
    status = 402


class BalanceLimitExceeded(Refusal):
    """The balance would exceed the maximum of a card."""

    code = "balance_limit_exceeded"
    status = 402


class PaymentLimitExceeded(Refusal):
    """A card of this program pays at most its max_per_payment at a time."""

    code = "payment_limit_exceeded"
    status = 402


class PinRequired(Refusal):
    """This card needs its PIN together with its code."""

    code = "pin_required"
    status = 402


class PinIncorrect(Refusal):
    """This is not the card's PIN."""

    code = "pin_incorrect"
    status = 402


class PinLocked(Refusal):
    """The PIN was wrong too often; reset it to spend the card again."""

    code = "pin_locked"
    status = 402


class CardNotFound(Refusal):
    """There is no such card."""

    code = "card_not_found"
    status = 404


class RedemptionNotFound(NotFound):
    """There is no such redemption."""


class HoldNotFound(NotFound):
    """There is no such hold."""


class ProgramNotFound(NotFound):
    """There is no such program."""


class CurrencyMismatch(Refusal):
    """The card has another currency."""

    code = "currency_mismatch"
    status = 422


class AmountNotAllowed(Refusal):
    """The program does not allow this amount."""

    code = "amount_not_allowed"
    status = 422


class ExpiryNotAllowed(Refusal):
    """The date must be in the future, at most 100 years away, and not before the card's own."""

    code = "expiry_not_allowed"
    status = 422


# The outcomes of the ledger's functions, and their refusals.
_NAMED: tuple[type[Refusal], ...] = (
    InsufficientFunds,
    CardExpired,
    CardBlocked,
    CardNotActive,
    CardClosed,
    CardNotEmpty,
    CardNotDue,
    PartialRedemptionNotAllowed,
    CashOutNotAllowed,
    RefundExceedsRedemption,
    CaptureExceedsHold,
    HoldNotOpen,
    BalanceLimitExceeded,
    PaymentLimitExceeded,
    ExpiryNotAllowed,
    PinRequired,
    PinIncorrect,
    PinLocked,
    CardNotFound,
    CurrencyMismatch,
    AmountNotAllowed,
    IdempotencyKeyReused,
    InvalidRequest,
)
BY_OUTCOME: dict[str, type[Refusal]] = {
    **{refusal.code: refusal for refusal in _NAMED},
    "redemption_not_found": RedemptionNotFound,
    "hold_not_found": HoldNotFound,
    "program_not_found": ProgramNotFound,
    "busy": Overloaded,
}
