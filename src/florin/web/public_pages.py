"""Public pages: those that are the same for everyone in a language, rendered once, kept as bytes.

A page is found by all that it shows: what a merchant changes is on the next page, at any instance,
and nothing has to be removed when it changes. To look up what it shows takes two short reads; to
render and compress it takes several times the CPU of both.

An instance keeps pages in its own memory, and shares them with the others through Valkey.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from florin.kit.http.static_files import CachedBody, cache_body
from florin.web.shared_pages import SharedPages

HTML = "text/html"  # the framework adds the character set
_KEPT_BYTES = 16_000_000


class PublicPages:
    """Rendered pages, the last used last; together of bounded size."""

    def __init__(self, shared: SharedPages) -> None:
        self._shared = shared
        self._kept: OrderedDict[bytes, CachedBody] = OrderedDict()
        self._bytes = 0

    async def page(self, key: bytes, render: Callable[[], bytes]) -> CachedBody:
        """The page of a key, from here, from another instance, or rendered now."""
        page = self.find(key)
        if page is None:
            page = await self._shared.find(key, HTML)
            if page is None:
                page = cache_body(render(), HTML)
                await self._shared.keep(key, page)
            self.keep(key, page)
        return page

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
