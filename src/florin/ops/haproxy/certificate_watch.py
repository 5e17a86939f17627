"""Certificate watch: load a renewed certificate into a HAProxy that something else started.

In a cluster or a Compose project another program renews the file of the certificate (cert-manager,
certbot). HAProxy takes the new one through its socket: new connections get it, open ones go on.
"""

import asyncio
from pathlib import Path

from florin.ops.haproxy import runtime_api
from florin.ops.haproxy.certificate import join_certificate
from florin.ops.haproxy.runtime_api import HaproxyUnreachable
from florin.ops.system.console import OperatorError, say

_EVERY_S = 5.0

Stamp = tuple[tuple[int, int], ...]


async def watch_certificate(
    socket: Path, loaded: str, pair: tuple[Path, Path], *, every_s: float = _EVERY_S
) -> None:
    """Load certificate and key once, and again after each change, until cancelled.

    `loaded` is the certificate's name in HAProxy's configuration (`crt`). A pair that does not
    match, or is only half written, is reported and changes nothing.
    """
    used: Stamp = ()
    trouble = ""
    while True:
        stamp = _stamp(pair)
        if stamp != used:
            try:
                await runtime_api.replace_certificate(socket, loaded, join_certificate(*pair))
            except HaproxyUnreachable as error:  # it starts: tried again
                used, problem = (), str(error)
            except OperatorError as error:
                used, problem = stamp, str(error)
            else:
                used, problem = stamp, ""
                say(f"The certificate {pair[0]} is loaded.")
            if problem and problem != trouble:
                say(f"The certificate was not replaced: {problem}")
            trouble = problem
        await asyncio.sleep(every_s)


def _stamp(pair: tuple[Path, Path]) -> Stamp:
    try:
        stats = [path.stat() for path in pair]
    except OSError:
        return ()
    return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)
