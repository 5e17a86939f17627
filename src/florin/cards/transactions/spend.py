"""Spend: make the posting of a redemption or a hold.

While the secret that keys codes (FLORIN_CODE_PEPPER) is rotated, the posting also carries its form
under the previous secret. The ledger finds by it a card, or the first request of a key, that was
recorded under that secret.
"""

from collections.abc import Callable, Sequence

import msgspec

from florin.cards import codes, pins, requests
from florin.cards.card import parse_card_id
from florin.cards.locations import location_of
from florin.cards.request_context import RequestContext
from florin.kit.errors import Forbidden, InvalidRequest
from florin.kit.http.body import fingerprint
from florin.kit.json_text import json_text
from florin.ledger.post import Posting


def spend_posting(
    peppers: Sequence[bytes],
    context: RequestContext,
    op: str,
    request: requests.SpendRequest,
    *,
    imported: bool = False,
) -> Posting:
    """Make the posting of a redemption or a hold. `imported`: the code and the PIN may be those of
    another system. Raises InvalidRequest, CodeMalformed, …
    """
    card, code, typed = None, None, None
    if (request.card is None) == (request.code is None):
        raise InvalidRequest("give exactly one of code and card", param="card")
    if request.card is not None:
        if not context.spends_by_id:
            raise Forbidden(
                "spending by card id needs the scope cards:spend-by-id; give the code instead"
            )
        card = parse_card_id(request.card)
    elif request.code is not None:
        typed = codes.read_any_code(request.code, imported=imported)
        code = codes.code_hash(peppers[0], context.merchant, typed)
    if request.pin is not None and request.code is None:
        raise InvalidRequest("pin is allowed only together with code", param="pin")
    pin = None if request.pin is None else pins.read_any(request.pin, imported=imported)
    location = location_of(context, request.location)
    expires_in = request.expires_in if isinstance(request, requests.HoldRequest) else None
    simulate = isinstance(request, requests.RedemptionRequest) and request.simulate
    remainder = isinstance(request, requests.RedemptionRequest) and request.allow_remainder

    def fingerprint_for(hashed: bytes | None) -> bytes:
        # Without the PIN: repeating a key must not reveal whether its first request had the right
        # PIN.
        return fingerprint(
            op,
            request.card,
            hashed and hashed.hex(),
            request.amount,
            request.currency,
            remainder,
            request.reference,
            location,
            request.metadata,
            expires_in,
        )

    posting = Posting(
        merchant=context.merchant,
        op=op,
        actor=context.actor,
        key=None if simulate else context.key,
        fingerprint=fingerprint_for(code),
        card=card,
        code=code,
        pin=None if pin is None else pins.pin_attempt(peppers, context.merchant, pin),
        amount=request.amount,
        currency=request.currency,
        remainder=remainder,
        simulate=simulate,
        expires_in=expires_in,
        reference=request.reference,
        location=location,
        metadata=json_text(request.metadata) if request.metadata else None,
    )
    if typed is not None and len(peppers) > 1:
        posting.previous_pepper = _under_previous(peppers[1:], posting, typed, fingerprint_for)
    return posting


def _under_previous(
    peppers: Sequence[bytes],
    posting: Posting,
    typed: str,
    fingerprint_for: Callable[[bytes], bytes],
) -> Posting | None:
    before: Posting | None = None
    for pepper in reversed(peppers):
        hashed = codes.code_hash(pepper, posting.merchant, typed)
        before = msgspec.structs.replace(
            posting, code=hashed, fingerprint=fingerprint_for(hashed), previous_pepper=before
        )
    return before
