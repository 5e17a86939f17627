"""Signed positions: Florin-Consistency tokens, signed to distinguish issued from forged ones.

A token is a position and its signature. A signed position is recorded, and an alert is raised if
the log does not reach it after a failover; a forged one must not be able to cause that. A position
without a valid signature (from an older release, or forged) only bounds the read it is sent with.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b

from florin.kit.postgres.database import parse_position

_LABEL = b"florin consistency token"
_SIGNATURE_BYTES = 8  # one in 2^64 guesses would raise a false alert


class PositionSigner:
    """Signs with the first secret and accepts the signatures of all."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [hmac.digest(secret.encode(), _LABEL, "sha256") for secret in secrets]
        self._last: tuple[str, bytes] = ("", b"")

    def token(self, position: str) -> bytes:
        """Return the header's value. Responses of one batch share it, so the last is cached."""
        last, token = self._last
        if position != last:
            token = f"{position}.{_signature(self._keys[0], position)}".encode()
            self._last = position, token
        return token

    def read(self, token: str) -> tuple[str, bool]:
        """Return a token's position, and whether its signature is valid. Raises ValueError."""
        position, dot, signature = token.rpartition(".")
        if "." not in position:  # unsigned: the dot is that of the position
            position, signature = token, ""
        elif not dot or len(signature) != 2 * _SIGNATURE_BYTES:
            raise ValueError("invalid position")
        parse_position(position)
        given = signature.encode()
        known = (_signature(key, position).encode() for key in self._keys)
        return position, any(hmac.compare_digest(each, given) for each in known)


def _signature(key: bytes, position: str) -> str:
    return blake2b(position.encode(), key=key, digest_size=_SIGNATURE_BYTES).hexdigest()
