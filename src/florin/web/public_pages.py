"""Public pages: those that are the same for everyone in a language, rendered once, kept as bytes.

A page is found by all that it shows: what a merchant changes is on the next page, at any instance,
and nothing has to be removed when it changes. To look up what it shows takes two short reads; to
render and compress it takes several times the CPU of both.
"""

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from florin.kit.http.static_files import CachedBody

_KEPT_BYTES = 16_000_000


class PublicPages:
    """Rendered pages, the last used last; together of bounded size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, CachedBody] = OrderedDict()
        self._bytes = 0

    def find(self, key: bytes) -> CachedBody | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: bytes, page: CachedBody) -> None:
        if key in self._kept:
            return
        self._kept[key] = page
        self._bytes += _size(page)
        while self._bytes > _KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def page_key(*shown: Any) -> bytes:
    """The key of a page that shows this: anything that msgspec encodes."""
    return hashlib.sha256(msgspec.msgpack.encode(shown)).digest()


def _size(page: CachedBody) -> int:
    return len(page.body) + len(page.packed or b"")


PUBLIC_PAGES = PublicPages()  # of this process
