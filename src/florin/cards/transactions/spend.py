"""Spend: what was asked of a card, as an item for the ledger.

While the secret that keys codes is changed, the item brings with it how it would be known under the
secret before: its card is found by that, and so is a request that was recorded under it.
"""

from collections.abc import Callable, Sequence

import msgspec

from florin.cards import codes, pins, requests
from florin.cards.card import parse_card_id
from florin.cards.locations import location_of
from florin.cards.request_context import RequestContext
from florin.kit.errors import Forbidden, InvalidRequest
from florin.kit.http.body import fingerprint
from florin.ledger.post import Posting


def spend_posting(
    peppers: Sequence[bytes], asked: RequestContext, op: str, want: requests.SpendRequest
) -> Posting:
    """Make the item of a redemption or a hold. Raises InvalidRequest, CodeMalformed, …"""
    card, code, typed = None, None, None
    if (want.card is None) == (want.code is None):
        raise InvalidRequest("give exactly one of code and card", param="card")
    if want.card is not None:
        if not asked.spends_by_id:
            raise Forbidden("this needs the scope cards:spend-by-id: give the card's code")
        card = parse_card_id(want.card)
    elif want.code is not None:
        typed = codes.read_code(want.code)
        code = codes.code_hash(peppers[0], asked.merchant, typed)
    if want.pin is not None and want.code is None:
        raise InvalidRequest("a PIN goes with a code", param="pin")
    pin = None if want.pin is None else pins.read(want.pin)
    location = location_of(asked, want.location)
    expires_in = want.expires_in if isinstance(want, requests.HoldRequest) else None
    simulate = isinstance(want, requests.RedemptionRequest) and want.simulate
    remainder = isinstance(want, requests.RedemptionRequest) and want.allow_remainder

    def print_of(hashed: bytes | None) -> bytes:
        # Without the PIN: whether a key's request had the right one is not to be asked of its key.
        return fingerprint(
            op,
            want.card,
            hashed and hashed.hex(),
            want.amount,
            want.currency,
            remainder,
            want.reference,
            location,
            want.metadata,
            expires_in,
        )

    posting = Posting(
        merchant=asked.merchant,
        op=op,
        actor=asked.actor,
        key=None if simulate else asked.key,
        fingerprint=print_of(code),
        card=card,
        code=code,
        pin=None if pin is None else pins.pin_attempt(peppers, asked.merchant, pin),
        amount=want.amount,
        currency=want.currency,
        remainder=remainder,
        simulate=simulate,
        expires_in=expires_in,
        reference=want.reference,
        location=location,
        metadata=_json(want.metadata),
    )
    if typed is not None and len(peppers) > 1:
        posting.previous_pepper = _before(peppers[1:], posting, typed, print_of)
    return posting


def _before(
    peppers: Sequence[bytes],
    posting: Posting,
    typed: str,
    print_of: Callable[[bytes], bytes],
) -> Posting | None:
    before: Posting | None = None
    for pepper in reversed(peppers):
        hashed = codes.code_hash(pepper, posting.merchant, typed)
        before = msgspec.structs.replace(
            posting, code=hashed, fingerprint=print_of(hashed), previous_pepper=before
        )
    return before


def _json(metadata: dict[str, str] | None) -> str | None:
    return msgspec.json.encode(metadata, order="sorted").decode() if metadata else None
