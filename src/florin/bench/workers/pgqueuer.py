"""Pgqueuer: PgQueuer with jobs that do nothing, set up for throughput as its documentation says.

    python -m florin.bench.workers.pgqueuer fill JOBS
    python -m florin.bench.workers.pgqueuer work JOBS BATCH

It uses PgQueuer's settings for autovacuum (`pgq autovac`); durability `balanced`, where jobs
survive a crash as Florin's do and only its log does not;
one asyncpg connection for the worker; and uvloop, as PgQueuer's command does.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from prometheus_client import start_http_server

os.environ["PGQUEUER_DURABILITY"] = "balanced"  # read when it is imported

from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from florin.bench.workers.job_counter import Count

_asyncpg: Any = asyncpg  # its factories are typed only in part
_ENTRYPOINT = "nothing"
_AT_ONCE = 5_000


async def _fill(url: str, jobs: int) -> None:
    connection = await _asyncpg.connect(url)
    queries = Queries.from_asyncpg_connection(connection)
    if not await queries.schema_is_installed():
        await queries.install()
        await queries.optimize_autovacuum()
    await queries.clear_queue()
    for start in range(0, jobs, _AT_ONCE):
        number = min(_AT_ONCE, jobs - start)
        payloads: list[bytes | None] = [b'{"number": %d}' % (start + n) for n in range(number)]
        await queries.enqueue([_ENTRYPOINT] * number, payloads, [0] * number)
    await connection.close()


async def _work(url: str, jobs: int, batch: int) -> None:
    count = Count(jobs)
    connection = await _asyncpg.connect(url)
    pgq = PgQueuer.from_asyncpg_connection(connection)

    @pgq.entrypoint(_ENTRYPOINT)
    async def nothing(_job: Job) -> None:
        count()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, pgq.shutdown.set)
    await pgq.run(batch_size=batch, dequeue_timeout=timedelta(seconds=1))
    count.close()
    await connection.close()


def main(what: str, jobs: int, batch: int) -> None:
    """Fill the queue, or work until SIGTERM."""
    url = os.environ["DATABASE_URL"]
    if what == "fill":
        uvloop.run(_fill(url, jobs))
        return
    start_http_server(int(os.environ["FLORIN_OPERATIONS_PORT"]), "127.0.0.1")
    uvloop.run(_work(url, jobs, batch))


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in (*sys.argv[2:], "0")[:2]))
