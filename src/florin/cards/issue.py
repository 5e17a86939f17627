"""Issue: make a card, show its code once, and keep a sealed copy for as long as it may be asked."""

from uuid import UUID

import asyncpg
import msgspec

from florin.cards import code as codes
from florin.cards.asking import Asked
from florin.cards.card import Card, find
from florin.cards.requests import CardRequest
from florin.kit import ids
from florin.kit.db import Database
from florin.kit.http import fingerprint
from florin.kit.seal import SealBroken, Sealer
from florin.ledger import issue as ledger
from florin.ledger.issue import Issuance, Issued, Issuer
from florin.ledger.refusals import ProgramNotFound

_ATTEMPTS = 3  # a code is taken with a chance of cards / 2^75


class Cards:
    """Issuing cards and changing their codes."""

    def __init__(self, issuer: Issuer, database: Database, pepper: str, sealer: Sealer) -> None:
        self._issuer = issuer
        self._database = database
        self._pepper = pepper.encode()
        self._sealer = sealer

    async def issue(self, asked: Asked, want: CardRequest) -> tuple[Card, Issued]:
        """Raises ProgramNotFound, AmountNotAllowed and the ledger's refusals."""
        program = ids.parse("prg", want.program)
        if program is None:
            raise ProgramNotFound(param="program")
        for _ in range(_ATTEMPTS):
            card, code = ids.new(), codes.make()
            try:
                issued = await self._issuer.issue(
                    self._issuance(asked, want, program=program, card=card, code=code)
                )
            except asyncpg.UniqueViolationError:
                continue
            if issued.recalled:
                recalled, last4 = await self._recall(asked.merchant, issued.id)
                return _card(want, issued, recalled, last4), issued
            return _card(want, issued, code, code[-4:]), issued
        msg = "three fresh codes were taken"
        raise AssertionError(msg)

    async def rotate(self, asked: Asked, card: UUID) -> tuple[Card, str]:
        """Give the card a new code and show it; the old one is dead. The outcome: ok, replayed."""
        code = codes.make()
        outcome = await ledger.rotate(
            self._database,
            merchant=asked.merchant,
            card=card,
            code=codes.lookup_hash(self._pepper, asked.merchant, code),
            last4=code[-4:],
            sealed=self._sealer.seal(code, bound_to=asked.merchant.bytes + card.bytes),
            key=asked.key,
            fingerprint=fingerprint("rotate-code", card.hex),
        )
        found = await find(self._database, asked.merchant, card)
        shown = code if outcome == "ok" else (await self._recall(asked.merchant, card))[0]
        return msgspec.structs.replace(found, code=shown and codes.show(shown)), outcome

    def _issuance(
        self, asked: Asked, want: CardRequest, *, program: UUID, card: UUID, code: str
    ) -> Issuance:
        recipient = want.recipient
        return Issuance(
            merchant=asked.merchant,
            program=program,
            amount=want.amount,
            activate=want.activate,
            id=card,
            code=codes.lookup_hash(self._pepper, asked.merchant, code),
            last4=code[-4:],
            sealed=self._sealer.seal(code, bound_to=asked.merchant.bytes + card.bytes),
            actor=asked.actor,
            key=asked.key,
            fingerprint=fingerprint("issue", want),
            recipient_name=recipient.name if recipient else None,
            recipient_email=recipient.email if recipient else None,
            metadata=msgspec.json.encode(want.metadata, order="sorted").decode()
            if want.metadata
            else None,
        )

    async def _recall(self, merchant: UUID, card: UUID) -> tuple[str | None, str]:
        """The code, while its sealed copy lives, and the last four symbols."""
        row = await self._database.one(
            "select last4,"
            " case when sealed_until > clock_timestamp() then sealed_code end as sealed"
            " from florin.card where merchant = $1 and id = $2",
            merchant,
            card,
        )
        if row is None or row["sealed"] is None:
            return None, row["last4"] if row else ""
        try:
            code = self._sealer.unseal(row["sealed"], bound_to=merchant.bytes + card.bytes)
        except SealBroken:
            return None, row["last4"]  # sealed under a key that was taken away since
        return code, row["last4"]


def _card(want: CardRequest, issued: Issued, code: str | None, last4: str) -> Card:
    """The card as it was when it was issued."""
    first = issued.first
    return Card(
        id=ids.show("crd", issued.id),
        program=ids.show("prg", first.program),
        state="active" if first.state == "active" else "pending",
        currency=first.currency,
        balance=first.balance,
        held=0,
        available=first.balance,
        code=codes.show(code) if code else None,
        last4=last4,
        recipient=want.recipient,
        issued_at=first.issued_at,
        expires_at=first.expires_at,
        metadata=want.metadata or {},
        created_at=first.issued_at,
    )
