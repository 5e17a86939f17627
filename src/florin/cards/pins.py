"""PINs: six digits beside the code of a card, where it is to have one. docs/concepts/codes.md."""

import hashlib
import secrets
from collections.abc import Sequence
from uuid import UUID

from florin.kit.encryption import keyed_hash
from florin.kit.errors import InvalidRequest
from florin.kit.pasted_text import compacted

DIGITS = 6


def make_pin() -> str:
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


def read(typed: str) -> str:
    """Bring what was typed to the six digits of a PIN. Raises InvalidRequest."""
    pin = compacted(typed)
    if len(pin) != DIGITS or not (pin.isascii() and pin.isdigit()):
        raise InvalidRequest(f"a PIN is {DIGITS} digits", param="pin")
    return pin


def pin_attempt(peppers: Sequence[bytes], merchant: UUID, pin: str) -> bytes:
    """What the ledger is given of a PIN that somebody typed: 32 bytes for each secret that may have
    keyed the card's. Without the secret a million tries would find the PIN.
    """
    return b"".join(keyed_hash(pepper, merchant.bytes + pin.encode()) for pepper in peppers)


def pin_hash(pepper: bytes, merchant: UUID, card: UUID, pin: str) -> bytes:
    """What the database keeps: bound to its card, so that equal PINs do not look equal."""
    return hashlib.sha256(card.bytes + pin_attempt([pepper], merchant, pin)).digest()
