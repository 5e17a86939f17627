"""Shared values: what one instance computed, kept in Valkey for the others.

A value is signed, so that no one who can write to Valkey makes one up or moves one to another
key; without a valid signature it is not there. Without Valkey, or when it does not answer at once,
no value is there, and each instance computes its own.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from typing import Any

from florin.kit.valkey.client import GONE, valkey_key

_PATIENCE_S = 0.05
_REST_S = 1.0  # how long Valkey is not asked after it did not answer
_SIGNATURE_BYTES = 32


class SharedValues:
    """Values of one use by their keys. Signs with the first secret and accepts the signatures of
    all. A value is gone after `kept_s`.
    """

    def __init__(
        self, client: Any | None, secrets: Sequence[str], *, use: str, kept_s: int
    ) -> None:
        self._client = client
        label = f"florin shared {use}".encode()
        self._secrets = [hmac.digest(each.encode(), label, "sha256") for each in secrets]
        self._use = use
        self._kept_s = kept_s
        self._rest_until = 0.0

    async def find(self, key: bytes) -> bytes | None:
        found = await self._ask("get", self.name(key))
        if not found:
            return None
        signature, value = found[:_SIGNATURE_BYTES], found[_SIGNATURE_BYTES:]
        valid = [hmac.compare_digest(each, signature) for each in self._signatures(key, value)]
        return value if any(valid) else None

    async def keep(self, key: bytes, value: bytes) -> None:
        signature = next(self._signatures(key, value))
        await self._ask("set", self.name(key), signature + value, ex=self._kept_s)

    def name(self, key: bytes) -> str:
        """The name of a key in Valkey."""
        return valkey_key(self._use, hashlib.sha256(key).hexdigest())

    def _signatures(self, key: bytes, value: bytes) -> Iterator[bytes]:
        length = len(key).to_bytes(4, "big")
        return (hmac.digest(each, length + key + value, "sha256") for each in self._secrets)

    async def _ask(self, command: str, *parts: Any, **options: Any) -> Any:
        if self._client is None or time.monotonic() < self._rest_until:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await getattr(self._client, command)(*parts, **options)
        except GONE:
            self._rest_until = time.monotonic() + _REST_S
            return None
