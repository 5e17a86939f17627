"""Host names: looks a name up once at a time, for all connections that ask for it.

The event loop looks names up in a few threads, and a look-up cannot be cancelled. One that a name
server does not answer takes 5 to 30 s: if each new connection began its own, those of a host that
is gone, whose name may be gone as well, would hold all threads, and the other hosts of the URL
could not be looked up.
"""

import asyncio
from collections.abc import MutableMapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

_Lookup = asyncio.Future[Any]

_running: MutableMapping[asyncio.AbstractEventLoop, dict[str, _Lookup]] = WeakKeyDictionary()


async def look_up(host: str, within_s: float) -> None:
    """Wait until the name is known. Raises OSError if it is not, or TimeoutError."""
    loop = asyncio.get_running_loop()
    lookups = _running.setdefault(loop, {})
    lookup = lookups.get(host)
    if lookup is None:
        lookup = lookups[host] = asyncio.ensure_future(loop.getaddrinfo(host, None))
        lookup.add_done_callback(partial(_forget, lookups, host))
    async with asyncio.timeout(within_s):
        await asyncio.shield(lookup)


def _forget(lookups: dict[str, _Lookup], host: str, lookup: _Lookup) -> None:
    del lookups[host]
    if not lookup.cancelled():
        lookup.exception()  # each that waited has it; without one of them it would be logged
