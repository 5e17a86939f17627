"""URLs of servers, which may name several hosts: `redis+cluster://user:password@a:1,[fd00::1]:2`."""

import re
from urllib.parse import SplitResult, urlsplit

_NETLOC = re.compile(r"[^/?#]*")


def split_url(url: str) -> SplitResult:
    """Split a URL. Raises ValueError for one that is not well formed.

    Newer Pythons refuse brackets that do not begin the only host (RFC 3986 has one host), so the
    network location of several hosts is not checked by them.
    """
    scheme, found, rest = url.partition("://")
    match = _NETLOC.match(rest)
    netloc = match.group() if match else ""
    if not found or "," not in netloc:
        return urlsplit(url)
    return urlsplit(f"{scheme}://{rest[len(netloc) :]}")._replace(netloc=netloc)
