"""Encryption: keyed hashes to find a secret by, and sealed copies to give it back.

The keys come from the environment, never from the database: a stolen database holds no code that
could be spent and no key that could be used.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = 12


class UnsealFailed(Exception):
    """The sealed copy was made with another key, for another object, or was changed."""


def keyed_hash(pepper: bytes, text: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104): 32 bytes, equal for equal secrets, useless without the pepper."""
    return hmac.digest(pepper, text, "sha256")


class Sealer:
    """AES-256-GCM (NIST SP 800-38D) under a key derived from the setting, bound to an object.

    It seals with the first key and opens with any: while the key is changed, what was sealed under
    the other one is still read.
    """

    def __init__(self, *keys: str) -> None:
        self._ciphers = [
            AESGCM(hashlib.sha256(b"florin seal 1\0" + key.encode()).digest()) for key in keys
        ]

    def seal(self, secret: str, *, bound_to: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._ciphers[0].encrypt(nonce, secret.encode(), bound_to)

    def unseal(self, sealed: bytes, *, bound_to: bytes) -> str:
        """Raises UnsealFailed."""
        if sealed[:1] != _VERSION:
            raise UnsealFailed
        nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, body, bound_to).decode()
            except InvalidTag:
                continue
        raise UnsealFailed
