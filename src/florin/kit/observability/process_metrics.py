"""Process metrics: the event loop's lag, the limit of memory and the release of this process."""

import asyncio
import contextlib
import os
import resource
from pathlib import Path

from florin.kit.observability import metrics

SAMPLE_EVERY_S = 0.25
# Of control groups version 2 and 1; a container sees its own group there.
_GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class ProcessMetrics:
    """Measures this process between `start` and `stop`."""

    def __init__(self, release: str) -> None:
        self._release = release
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        metrics.build.labels(self._release).set(1)
        metrics.memory_limit.set(memory_limit_bytes())
        self._task = asyncio.ensure_future(sample_event_loop_lag())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def sample_event_loop_lag() -> None:
    """Observe how late a timer fires, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SAMPLE_EVERY_S
        await asyncio.sleep(SAMPLE_EVERY_S)
        metrics.event_loop_lag.observe(max(0.0, loop.time() - due))


def memory_limit_bytes() -> int:
    """Return the lowest limit that applies to this process, in bytes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    for path in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(path.read_text("utf-8")))
    return min(limits)
