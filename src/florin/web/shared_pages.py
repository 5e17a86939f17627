"""Shared pages: public pages that one instance rendered, kept in Valkey for the others.

One from another release, or too old, is rendered anew.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from florin.kit.http.static_files import CachedBody, body_tag
from florin.kit.valkey.shared_values import SharedValues

KEPT_S = 600


class SharedPages:
    """Pages by their keys."""

    def __init__(self, values: SharedValues, release: str) -> None:
        self._values = values
        self._release = release.encode()

    async def find(self, key: bytes, kind: str) -> CachedBody | None:
        packed = await self._values.find(self.key(key))
        if packed is None:
            return None
        body = gzip.decompress(packed)
        return CachedBody(body, packed, kind, body_tag(body))

    async def keep(self, key: bytes, page: CachedBody) -> None:
        if page.packed is not None:
            await self._values.keep(self.key(key), page.packed)

    def key(self, key: bytes) -> bytes:
        """A page that this release renders in its own way has a key of its own."""
        return hashlib.sha256(self._release + looks() + key).digest()


@cache
def looks() -> bytes:
    """A digest of all that pages are made of: a release in development has no name of its own."""
    digest = hashlib.sha256()

    def add(folder: Any) -> None:
        for each in sorted(folder.iterdir(), key=lambda each: each.name):
            if each.is_dir() and each.name != "__pycache__":
                add(each)
            elif each.is_file():
                digest.update(each.name.encode() + each.read_bytes())

    add(files("florin").joinpath("web"))
    return digest.digest()
