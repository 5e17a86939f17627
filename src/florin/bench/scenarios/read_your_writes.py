"""Read your writes: callers write and read, and must never see an older state than before.

The replay of the replicas is paused at random meanwhile: without a consistency token, such reads
would often be stale.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

_WRITES = 0.2  # share of a caller's requests
_PAUSED_S = (0.02, 0.4)
_BETWEEN_S = (0.0, 0.1)

# A request of the named caller: returns its number of writes by then, or the number that was read;
# None when the request failed.
Act = Callable[[str], Awaitable[int | None]]


@dataclass(slots=True)
class ReadCounts:
    """The counts of all callers' requests, and the stale reads."""

    reads: int = 0
    writes: int = 0
    failures: int = 0
    stale: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class PauseCounts:
    count: int = 0
    ended: bool = False


async def run_callers(
    callers: Sequence[str], write: Act, read: Act, *, reads: int, chance: random.Random
) -> ReadCounts:
    """Run all callers until `reads` reads were requested."""
    found, seen = ReadCounts(), dict.fromkeys(callers, 0)

    async def caller(name: str) -> None:
        while found.reads < reads:
            writes = chance.random() < _WRITES
            if writes:
                found.writes += 1
            else:
                found.reads += 1
            got = await (write if writes else read)(name)
            if got is None:
                found.failures += 1
            elif got < seen[name]:
                found.stale.append(f"{name} read {got} after {seen[name]}")
            else:
                seen[name] = got

    await asyncio.gather(*(caller(name) for name in callers))
    return found


@asynccontextmanager
async def pause_replay(admins: Sequence[Any], chance: random.Random) -> AsyncGenerator[PauseCounts]:
    """Pause the replay of one replica after another; `admins` are superuser connections."""
    pauses = PauseCounts()
    task = asyncio.create_task(_pause(admins, chance, pauses))
    try:
        yield pauses
    finally:
        pauses.ended = True
        await task


async def _pause(admins: Sequence[Any], chance: random.Random, pauses: PauseCounts) -> None:
    while not pauses.ended:
        admin = chance.choice(admins)
        await admin.execute("select pg_wal_replay_pause()")
        try:
            await asyncio.sleep(chance.uniform(*_PAUSED_S))
        finally:
            await admin.execute("select pg_wal_replay_resume()")
        pauses.count += 1
        await asyncio.sleep(chance.uniform(*_BETWEEN_S))
