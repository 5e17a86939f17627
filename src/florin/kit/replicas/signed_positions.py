"""Signed positions: which Florin-Consistency an answer of ours gave, and which somebody invented.

A token is a position and its signature. What a token promises is remembered, and an alarm follows
where the log does not reach there after a failover: only what we signed may do that. A position
without our signature (of an older release, or invented) bounds the read it comes with, no more.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b

from florin.kit.postgres.database import parse_position

_LABEL = b"florin consistency token"
_SIGNATURE_BYTES = 8  # an alarm is what one in 2^64 guesses would raise, falsely


class PositionSigner:
    """Signs with the first of the secrets, and knows what each of them signed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [hmac.digest(secret.encode(), _LABEL, "sha256") for secret in secrets]
        self._last: tuple[str, bytes] = ("", b"")

    def token(self, position: str) -> bytes:
        """Return the header's value. Answers of one commit share it, so the last one is kept."""
        last, made = self._last
        if position != last:
            made = f"{position}.{_signature(self._keys[0], position)}".encode()
            self._last = position, made
        return made

    def read(self, token: str) -> tuple[str, bool]:
        """Return a token's position, and whether we signed it. Raises ValueError."""
        position, dot, signature = token.rpartition(".")
        if "." not in position:  # unsigned: the dot is that of the position
            position, signature = token, ""
        elif not dot or len(signature) != 2 * _SIGNATURE_BYTES:
            raise ValueError("this is no position")
        parse_position(position)
        given = signature.encode()
        known = (_signature(key, position).encode() for key in self._keys)
        return position, any(hmac.compare_digest(each, given) for each in known)


def _signature(key: bytes, position: str) -> str:
    return blake2b(position.encode(), key=key, digest_size=_SIGNATURE_BYTES).hexdigest()
