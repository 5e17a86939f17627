"""Ports for tests: each is assigned once, and not reused when it is free again.

Below those that `florin up` draws (from 20,000) and those of outgoing connections (from 32,768).
Workers of pytest-xdist take turns; another run on the same machine begins elsewhere.
"""

import os
import random
from itertools import cycle

from florin.ops.system import ports

_FIRST, _LAST = 10_000, 20_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Every other one: a fleet takes the port after its own for operations.
_ours = range(_FIRST + 2 * _WORKER, _LAST, 2 * _WORKERS)
_begin = random.SystemRandom().randrange(len(_ours))
_next = cycle([*_ours[_begin:], *_ours[:_begin]])


def free_port() -> int:
    return next(port for port in _next if ports.is_free_port(port))
