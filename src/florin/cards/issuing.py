"""Issuing: create a card, show its code once, and keep a sealed copy for replays for 24 hours."""

from datetime import datetime
from typing import cast
from uuid import UUID

import asyncpg
import msgspec

from florin.cards import codes, pins
from florin.cards.card import Card, Recipient, State, find_card
from florin.cards.delivering import CardDeliveries
from florin.cards.delivery_plan import plan_request
from florin.cards.references import given_reference, issue_in_transaction
from florin.cards.request_context import RequestContext
from florin.cards.requests import CardRequest
from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import Database
from florin.kit.timestamps import in_utc
from florin.ledger import issue as ledger
from florin.ledger.issue import Issuance, IssueResult, IssuingLedger
from florin.ledger.refusals import ProgramNotFound

_ATTEMPTS = 3  # a new code collides with a probability of cards / 2^75

# The answer that a key's request for a new secret got. The sealed copy only while it still holds
# that secret: a later request replaces it.
_REPLACED = """
select q.answer, case when c.sealed_until > clock_timestamp()
  and encode(sha256(c.sealed_code), 'hex') = q.answer->>'sealed' then c.sealed_code end as sealed
from florin.idempotency q join florin.card c on c.merchant = q.merchant and c.id = $3
where q.merchant = $1 and q.key = $2
"""


class _Shown(msgspec.Struct, kw_only=True):
    """The secrets in the first response, and in replays with the same key for a day."""

    last4: str
    code: str | None = None
    pin: str | None = None


class _Replaced(msgspec.Struct, kw_only=True):
    """The state of a card when its secret was replaced."""

    state: str
    blocked: bool = False
    balance: int
    held: int
    expires_at: datetime | None
    last4: str


class CardIssuer:
    """Issues cards and replaces their codes and PINs."""

    def __init__(
        self,
        issuer: IssuingLedger,
        database: Database,
        pepper: str,
        sealer: Sealer,
        deliveries: CardDeliveries,
    ) -> None:
        self.deliveries = deliveries
        self._issuer = issuer
        self._database = database
        self._pepper = pepper.encode()
        self._sealer = sealer

    async def issue(
        self, context: RequestContext, request: CardRequest
    ) -> tuple[Card, IssueResult]:
        """Issue one card; with `deliver`, its delivery is made in the same transaction.

        Raises InvalidRequest, ReferenceTaken and the ledger's refusals.
        """
        program = ids.parse_id("prg", request.program)
        if program is None:
            raise ProgramNotFound(param="program")
        plan = await plan_request(
            self._database, context.merchant, request, sms=self.deliveries.sms
        )
        for _ in range(_ATTEMPTS):
            card, code, pin = ids.new_id(), codes.make_code(), pins.make_pin()
            issuance = self._issuance(
                context, request, program=program, card=card, code=code, pin=pin
            )
            try:
                if plan is None and request.reference is msgspec.UNSET:
                    issued = await self._issuer.issue(issuance)
                else:
                    issued = await issue_in_transaction(
                        self._database, self.deliveries, issuance, plan, code + pin, request
                    )
            except asyncpg.UniqueViolationError:
                continue
            shown = _Shown(last4=code[-4:], code=code, pin=pin)
            if issued.recalled:
                shown = await self._recall(context.merchant, issued.id)
                if shown.pin is None:
                    # Only the copy sealed at issue holds both secrets. One that replaced the code
                    # or the PIN since then belongs to the response that made it, not to this one.
                    shown = _Shown(last4=shown.last4)
            made = _card(request, issued, shown)
            if plan is not None:
                made = await self.deliveries.with_delivery(
                    self._database, context.merchant, issued.id, made
                )
            return made, issued
        msg = "three new codes in a row were in use already"
        raise AssertionError(msg)

    async def rotate(self, context: RequestContext, card: UUID) -> tuple[Card, str]:
        """Replace the code of a card. Returns the card with its code, and `ok` or `replayed`."""
        code = codes.make_code()
        outcome = await ledger.rotate_code(
            self._database,
            merchant=context.merchant,
            card=card,
            code=codes.code_hash(self._pepper, context.merchant, code),
            last4=code[-4:],
            sealed=self._sealer.seal(code, bound_to=context.merchant.bytes + card.bytes),
            key=context.key,
            fingerprint=fingerprint("rotate-code", card.hex),
            actor=context.actor,
        )
        answered, sealed = await self._as_answered(context, card)
        shown = code if outcome == "ok" else sealed.code
        return msgspec.structs.replace(answered, code=shown and codes.show_code(shown)), outcome

    async def reset_pin(self, context: RequestContext, card: UUID) -> tuple[Card, str]:
        """Replace the PIN of a card and reset its attempts. Returns the card with the new PIN, and
        `ok` or `replayed`.
        """
        pin = pins.make_pin()
        outcome = await ledger.reset_pin(
            self._database,
            merchant=context.merchant,
            card=card,
            pin=pins.pin_hash(self._pepper, context.merchant, card, pin),
            sealed=self._sealer.seal(pin, bound_to=context.merchant.bytes + card.bytes),
            key=context.key,
            fingerprint=fingerprint("reset-pin", card.hex),
            actor=context.actor,
        )
        answered, sealed = await self._as_answered(context, card)
        shown = pin if outcome == "ok" else sealed.pin
        return msgspec.structs.replace(answered, pin=shown or msgspec.UNSET), outcome

    def _issuance(
        self,
        context: RequestContext,
        request: CardRequest,
        *,
        program: UUID,
        card: UUID,
        code: str,
        pin: str,
    ) -> Issuance:
        recipient = request.recipient
        return Issuance(
            merchant=context.merchant,
            program=program,
            amount=request.amount,
            activate=request.activate,
            id=card,
            code=codes.code_hash(self._pepper, context.merchant, code),
            pin=None
            if request.pin is False
            else pins.pin_hash(self._pepper, context.merchant, card, pin),
            pin_wanted=request.pin is True,
            last4=code[-4:],
            sealed=self._sealer.seal(code + pin, bound_to=context.merchant.bytes + card.bytes),
            actor=context.actor,
            location=context.location,
            key=context.key,
            fingerprint=fingerprint("issue", request),
            recipient_name=recipient.name if recipient else None,
            recipient_email=recipient.email if recipient else None,
            metadata=msgspec.json.encode(request.metadata, order="sorted").decode()
            if request.metadata
            else None,
            expires_at=None
            if request.expires_at is msgspec.UNSET
            else in_utc(request.expires_at, param="expires_at"),
        )

    async def _recall(self, merchant: UUID, card: UUID) -> _Shown:
        """The secrets that may be shown again, while the sealed copy is kept."""
        row = await self._database.one(
            "select last4,"
            " case when sealed_until > clock_timestamp() then sealed_code end as sealed"
            " from florin.card where merchant = $1 and id = $2",
            merchant,
            card,
        )
        last4 = row["last4"] if row is not None else ""
        return self._unseal(merchant, card, row["sealed"] if row is not None else None, last4)

    async def _as_answered(self, context: RequestContext, card: UUID) -> tuple[Card, _Shown]:
        """The card as it was when this key's request replaced its secret, and the secret that may
        be shown: none once another request replaced it. Without a key, the card as it is now.
        """
        current = await find_card(self._database, context.merchant, card)
        nothing = _Shown(last4=current.last4)
        if context.key is None:
            return current, nothing
        row = await self._database.one(_REPLACED, context.merchant, context.key, card)
        if row is None or row["answer"] is None:
            return current, nothing
        then = msgspec.json.decode(row["answer"], type=_Replaced)
        card_then = msgspec.structs.replace(
            current,
            state=cast("State", then.state),
            blocked=then.blocked,
            balance=then.balance,
            held=then.held,
            available=then.balance - then.held,
            expires_at=then.expires_at,
            last4=then.last4,
        )
        return card_then, self._unseal(context.merchant, card, row["sealed"], then.last4)

    def _unseal(self, merchant: UUID, card: UUID, sealed: bytes | None, last4: str) -> _Shown:
        """Unseal what was sealed together: a code, a PIN, or both."""
        if sealed is None:
            return _Shown(last4=last4)
        try:
            text = self._sealer.unseal(sealed, bound_to=merchant.bytes + card.bytes)
        except UnsealFailed:
            return _Shown(last4=last4)  # sealed with a key that was removed since
        pin_start = codes.LENGTH if len(text) >= codes.LENGTH else 0
        return _Shown(last4=last4, code=text[:pin_start] or None, pin=text[pin_start:] or None)


def _card(request: CardRequest, issued: IssueResult, shown: _Shown) -> Card:
    """The card as it was when it was issued."""
    first = issued.first
    return Card(
        id=ids.show_id("crd", issued.id),
        program=ids.show_id("prg", first.program),
        state="active" if first.state == "active" else "pending",
        currency=first.currency,
        balance=first.balance,
        held=0,
        available=first.balance,
        code=codes.show_code(shown.code) if shown.code else None,
        pin=shown.pin if first.pin and shown.pin else msgspec.UNSET,
        last4=first.last4 or shown.last4,
        recipient=None if request.recipient == Recipient() else request.recipient,
        issued_at=first.issued_at,
        expires_at=first.expires_at,
        metadata=request.metadata or {},
        reference=given_reference(request.reference),
        created_at=first.issued_at,
    )
