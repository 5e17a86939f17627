"""Page token: the secret in the address of a page that needs no sign-in.

128 random bits in 26 letters and digits. Only its SHA-256 is searched for: a reader of the
database learns no address.
"""

import base64
import hashlib
import secrets
from uuid import UUID

from florin.kit.encryption import keyed_hash

_BYTES = 16
LENGTH = 26


def make_page_token() -> str:
    return _text(secrets.token_bytes(_BYTES))


def payment_page_token(pepper: bytes, merchant: UUID, payment: UUID) -> str:
    """The token of a payment's page: the same each time it is made, and not to be guessed."""
    return _text(keyed_hash(pepper, b"payment page\0" + merchant.bytes + payment.bytes)[:_BYTES])


def page_token_hash(token: str) -> bytes:
    return hashlib.sha256(b"page\0" + token.encode()).digest()


def _text(random: bytes) -> str:
    return base64.b32encode(random).decode().rstrip("=").lower()
