"""PINs: six digits in addition to the code, for cards that have one. See docs/concepts/codes.md."""

import hashlib
import secrets
from collections.abc import Sequence
from uuid import UUID

from florin.kit.encryption import keyed_hash
from florin.kit.errors import InvalidRequest
from florin.kit.pasted_text import compacted

DIGITS = 6
IMPORTED_LEAST, IMPORTED_MOST = 3, 12


def make_pin() -> str:
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


def read(typed: str) -> str:
    """Parse a typed PIN; return its six digits. Raises InvalidRequest."""
    pin = compacted(typed)
    if len(pin) != DIGITS or not (pin.isascii() and pin.isdigit()):
        raise InvalidRequest(f"pin must be {DIGITS} digits", param="pin")
    return pin


def read_any(typed: str, *, imported: bool) -> str:
    """Parse a PIN of Florin or, where `imported`, of another system: 3 to 12 letters and digits,
    compared without case. Raises InvalidRequest.
    """
    if not imported:
        return read(typed)
    pin = compacted(typed).upper()
    if not IMPORTED_LEAST <= len(pin) <= IMPORTED_MOST or not (pin.isascii() and pin.isalnum()):
        raise InvalidRequest(
            f"pin must have {IMPORTED_LEAST} to {IMPORTED_MOST} letters and digits", param="pin"
        )
    return pin


def pin_attempt(peppers: Sequence[bytes], merchant: UUID, pin: str) -> bytes:
    """The form in which a typed PIN is passed to the ledger: 32 bytes for each secret that may have
    keyed the card's PIN. Without a secret, one million attempts would find the PIN.
    """
    return b"".join(keyed_hash(pepper, merchant.bytes + pin.encode()) for pepper in peppers)


def pin_hash(pepper: bytes, merchant: UUID, card: UUID, pin: str) -> bytes:
    """The stored hash of a PIN, bound to its card: equal PINs have different hashes."""
    return hashlib.sha256(card.bytes + pin_attempt([pepper], merchant, pin)).digest()
