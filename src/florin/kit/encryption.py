"""Encryption: keyed hashes for finding a secret, and encrypted copies for returning it.

The keys come from the environment, never from the database: a stolen database contains no usable
card code and no usable key.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = 12


class UnsealFailed(Exception):
    """The encrypted copy belongs to another key or another object, or was modified."""


def keyed_hash(pepper: bytes, text: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104): 32 bytes, equal for equal secrets, useless without the pepper."""
    return hmac.digest(pepper, text, "sha256")


class Sealer:
    """AES-256-GCM (NIST SP 800-38D) under a key derived from the setting, bound to an object.

    The first key encrypts and every key decrypts, so values encrypted under the previous key stay
    readable during a key rotation.
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
