"""Stripe objects: the session that Stripe is asked for; what its objects say, in Florin's words."""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.payments.gateway import PaymentRow, SeenDispute, SeenRefund
from florin.payments.gateway_amounts import from_stripe, stripe_fee, to_stripe
from florin.payments.gateway_event import GatewayEvent

# Of a session, from when the payment began: Stripe's least is 30 minutes, so one that could not
# be made at once can be made up to 40 minutes later. Florin closes it when the payment ends.
OPEN_FOR_S = 70 * 60
# The events that are worth a look.
EVENTS = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "charge.updated",  # its balance transaction, with the fee, may exist only now
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
)
_REFUNDS: dict[str, Literal["pending", "done", "failed"]] = {
    "succeeded": "done",
    "failed": "failed",
    "canceled": "failed",
}


class _StripeNoun(msgspec.Struct):
    id: str = ""
    object: str = ""
    metadata: dict[str, Any] | None = None
    payment_intent: Any = None


class _StripeData(msgspec.Struct):
    object: _StripeNoun


class StripeEvent(msgspec.Struct):
    """Of an event, what it is about."""

    id: str
    type: str
    data: _StripeData


def session_parameters(payment: PaymentRow) -> dict[str, Any]:
    """The parameters of a session, made of the row alone."""
    marks = {
        "florin_merchant": payment.merchant.hex,
        "florin_order": payment.order.hex,
        "florin_payment": payment.id.hex,
    }
    created_s = (payment.id.int >> 80) // 1000  # a UUID of version 7 begins with its time
    session: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": payment.id.hex,
        "metadata": marks,
        # Refunds and disputes carry the marks of the intent.
        "payment_intent_data": {"metadata": marks},
        "allowed_payment_method_types": ["card"],  # no delayed methods
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": payment.currency.lower(),
                    "unit_amount": to_stripe(payment.amount, payment.currency),
                    "product_data": {
                        "name": f"{payment.merchant_name[:200]}, {payment.order_number}"
                    },
                },
            }
        ],
        "adaptive_pricing": {"enabled": False},  # the currency is the order's
        "success_url": payment.return_url,
        "cancel_url": payment.return_url,
        "expires_at": created_s + OPEN_FOR_S,
    }
    if payment.email is not None:
        session["customer_email"] = payment.email
    return session


def _mark(noun: Any, name: str) -> UUID | None:
    """A mark that Florin set on an object."""
    marks: dict[str, Any] = noun.metadata.to_dict() if noun.metadata is not None else {}
    return _uuid(marks.get(name))


def payment_of_session(session: Any) -> UUID | None:
    """Our payment, if both marks of the session name the same one."""
    mark = _mark(session, "florin_payment")
    return mark if mark == _uuid(session.client_reference_id) else None


def unpaid_state(
    session: Any, intent: Any
) -> tuple[Literal["open", "processing", "failed", "expired"], str | None]:
    if session.status == "expired":
        return "expired", None
    if session.status != "complete":
        return "open", None
    if intent is not None and intent.status in {"requires_payment_method", "canceled"}:
        error = intent.last_payment_error
        return "failed", str(getattr(error, "code", None) or "declined")
    return "processing", None


def fees_kept(intent: Any, disputes: list[Any], currency: str) -> tuple[int, str]:
    """The fees for a charge and its disputes, and their currency: that in which the account is
    settled, which may not be the payment's.
    """
    charge = getattr(intent.latest_charge, "balance_transaction", None)
    moves = [move for each in disputes for move in (each.balance_transactions or ())]
    if charge is not None:
        moves.insert(0, charge)
    settled = str(moves[0].currency).upper() if moves else currency
    kept = sum(int(move.fee or 0) for move in moves if str(move.currency).upper() == settled)
    return stripe_fee(kept, settled), settled


def is_fee_pending(intent: Any) -> bool:
    """Whether the charge has no balance transaction yet: Stripe may make it later."""
    return getattr(intent.latest_charge, "balance_transaction", None) is None


def seen_refund(each: Any) -> SeenRefund:
    currency = str(each.currency).upper()
    return SeenRefund(
        ref=each.id,
        amount=from_stripe(each.amount, currency),
        state=_REFUNDS.get(each.status, "pending"),
        ours=_mark(each, "florin_refund"),
        failure=getattr(each, "failure_reason", None),
    )


def seen_dispute(each: Any) -> SeenDispute:
    status = str(each.status)
    state: Literal["open", "won", "lost", "closed"] = "open"
    if status in {"won", "lost"}:
        state = "won" if status == "won" else "lost"
    elif status in {"warning_closed", "prevented"}:
        state = "closed"
    currency = str(each.currency).upper()
    amount = from_stripe(each.amount, currency)
    # Until when Stripe needs evidence; none once it was sent.
    due = getattr(each.evidence_details, "due_by", None)
    due = due if status.endswith("needs_response") else None
    return SeenDispute(
        ref=each.id,
        kind="inquiry" if status.startswith("warning_") else "chargeback",
        state=state,
        amount=amount,
        withdrawn=_withdrawn(each, amount),
        due_at=datetime.fromtimestamp(due, UTC) if due else None,
    )


def _withdrawn(each: Any, amount: int) -> int:
    """What is held back now: the moves of the account's balance may be in another currency than the
    dispute, so only their sign counts.
    """
    net: int = sum(move.amount for move in (each.balance_transactions or ()))
    return amount if net < 0 else 0


def seen_warning(each: Any, amount: int) -> SeenDispute:
    """Most early fraud warnings that are not acted on become disputes."""
    return SeenDispute(
        ref=each.id,
        kind="warning",
        state="open" if each.actionable else "closed",
        amount=amount,
        withdrawn=0,
    )


def read_stripe_event(event: StripeEvent) -> GatewayEvent:
    """What an event is about. Its body decides nothing else."""
    noun = event.data.object
    marks = noun.metadata or {}
    intent = noun.id if noun.object == "payment_intent" else noun.payment_intent
    return GatewayEvent(
        ref=event.id[:255],
        kind=event.type[:100],
        merchant=_uuid(marks.get("florin_merchant")),
        payment=_uuid(marks.get("florin_payment")),
        reference=noun.id if noun.object == "checkout.session" else None,
        capture_ref=intent if isinstance(intent, str) else None,
    )


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text)) if text else None
    except ValueError:
        return None
