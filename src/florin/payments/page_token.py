"""Page token: the secret in the address of a page that needs no sign-in.

128 random bits in 26 letters and digits. Only its SHA-256 is searched for: a reader of the
database learns no address.
"""

import base64
import hashlib
import secrets

_BYTES = 16
LENGTH = 26


def make_page_token() -> str:
    return base64.b32encode(secrets.token_bytes(_BYTES)).decode().rstrip("=").lower()


def page_token_hash(token: str) -> bytes:
    return hashlib.sha256(b"page\0" + token.encode()).digest()
