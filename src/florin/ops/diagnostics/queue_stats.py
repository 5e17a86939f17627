"""Queue stats: the state of queues and workers from the database; empty if it does not answer."""

import os
from dataclasses import dataclass

from florin.kit.postgres import function_sets
from florin.kit.postgres.database import Connection
from florin.kit.postgres.function_sets import FunctionSet
from florin.kit.queue import stats
from florin.kit.queue.stats import QueueFacts, WorkerFacts
from florin.ops.fleet.home import Home
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.topology import topology

_WITHIN_S = 3


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Queues, workers, and the sets of SQL functions in the database."""

    queues: tuple[QueueFacts, ...] = ()
    workers: tuple[WorkerFacts, ...] = ()
    function_sets: tuple[FunctionSet, ...] = ()

    def busy(self, name: str) -> str | None:
        """Return the busy and all slots of a worker by its last heartbeat: `3/5`."""
        alive = [each for each in self.workers if each.name == name and not each.silent]
        return f"{alive[-1].busy}/{alive[-1].concurrency}" if alive else None


async def read_queue_stats(home: Home) -> QueueStats:
    url = topology.running_urls(home).get("DATABASE_URL")
    url = url or os.environ.get("DATABASE_URL_PRIMARY") or os.environ.get("DATABASE_URL")
    if not url:
        return QueueStats()
    try:
        async with open_session(url, within_s=_WITHIN_S) as connection:
            return await query_queue_stats(connection)
    except (ValueError, *NotYet):
        return QueueStats()


async def query_queue_stats(connection: Connection) -> QueueStats:
    """Read the stats on a connection of an operator's tool."""
    await function_sets.use_installed_functions(connection)
    return QueueStats(
        tuple(await stats.read_queues(connection)),
        tuple(await stats.read_workers(connection)),
        tuple(await function_sets.list_function_sets(connection)),
    )
