"""Main: the process of a worker: signals, memory limit, metrics, exit code."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Any

import uvloop

from florin.kit.observability import logging, metrics
from florin.kit.observability.process_metrics import ProcessMetrics
from florin.kit.postgres.database import Database
from florin.kit.postgres.pool import Pool
from florin.kit.postgres.process_registry import ProcessRegistration
from florin.kit.postgres.role_check import OwnershipCheck
from florin.kit.queue import isolation
from florin.kit.queue.config import WorkPlan
from florin.kit.queue.worker import QueueWorker
from florin.kit.server import operations
from florin.kit.server.operations import OperationsListener
from florin.kit.settings import Settings
from florin.kit.valkey import client as valkey
from florin.kit.valkey.notifications import Notifier

CONTROL_CONNECTIONS = 3  # in addition to one per job: claims and heartbeats never wait for jobs
# For all jobs in slots of their queues' own: they wait for other systems, and share transactions.
OWN_SLOTS_CONNECTIONS = 4
_MB = 1024 * 1024
_log = logging.get_logger()

Open = Callable[[Settings, Database], Any]  # makes the dependencies of job functions


def serve_worker(
    settings: Settings, plan: WorkPlan, open_: Open, *, concurrency: int, command: Sequence[str]
) -> int:
    """Run jobs until SIGTERM or SIGINT; return the exit code. `command`: see isolation.py."""
    _limit_memory(settings.worker_memory_mb)
    _begin_at_zero(plan)
    control = _database(settings, "control", CONTROL_CONNECTIONS)
    database = _database(settings, "jobs", concurrency + OWN_SLOTS_CONNECTIONS)
    try:
        listener = operations.listener(settings, _endpoints((control.pool, database.pool)))
    except operations.PortUnavailable as error:
        _log.error("not started", detail=str(error))
        return 1
    _log.info("starting", concurrency=concurrency, release=settings.release)
    uvloop.run(_serve(settings, plan, open_, concurrency, command, listener, control, database))
    _log.info("stopped")
    return 0


def serve_one_job(settings: Settings, plan: WorkPlan, open_: Open, *, job: int, fence: int) -> int:
    """Run one job in this process, isolated from its worker."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # the worker ends this process
    _limit_memory(settings.worker_memory_mb)
    uvloop.run(_serve_one(settings, plan, open_, job, fence))
    return 0


def _endpoints(pools: Sequence[Pool]) -> dict[str, operations.Endpoint]:
    async def measure() -> operations.MeasuredMetrics:
        for pool in pools:
            pool.measure()
        return operations.MeasuredMetrics()

    return {"/metrics": measure, "/health/live": operations.alive}


async def _serve(
    settings: Settings,
    plan: WorkPlan,
    open_: Open,
    concurrency: int,
    command: Sequence[str],
    listener: OperationsListener | None,
    control: Database,
    database: Database,
) -> None:
    client = _valkey(settings)
    notifier = Notifier(client)
    await control.open()
    await database.open()
    worker = QueueWorker(
        plan,
        control=control,
        database=database,
        context=open_(settings, database),
        name=settings.instance,
        release=settings.release,
        concurrency=concurrency,
        notifier=notifier,
        alone=isolation.subprocess_runner(command),
    )
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, worker.stop)
    notifier.start()
    measuring = ProcessMetrics(settings.release)
    measuring.start()
    if listener is not None:
        listener.start()
    checking = _check_database(settings, control)
    try:
        await worker.run()
    finally:
        await _end(checking)
        await measuring.stop()
        await notifier.stop()
        database.terminate()  # a job that did not end in time may still hold a connection
        control.terminate()
        if client is not None:
            with contextlib.suppress(Exception):  # it may be unreachable
                await client.aclose()
        if listener is not None:
            await listener.stop()
    if worker.unresponsive:
        _abandon_jobs(worker.unresponsive)


def _abandon_jobs(count: int) -> None:
    """End at once: the loop would wait for them without end; their leases were released."""
    _log.warning("exit while jobs ignore cancellation", jobs=count)
    logging.flush()
    os._exit(0)


def _check_database(settings: Settings, database: Database) -> list[asyncio.Future[None]]:
    """Check the database's owner, and keep this process registered, in the background."""
    registration = ProcessRegistration(name=settings.instance, release=settings.release)
    return [
        asyncio.ensure_future(OwnershipCheck(settings).check_soon(database)),
        asyncio.ensure_future(registration.keep_registered(database)),
    ]


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)


async def _serve_one(settings: Settings, plan: WorkPlan, open_: Open, job: int, fence: int) -> None:
    database = _database(settings, "job", 2)
    await database.open()
    await isolation.run_isolated_job(plan, database, open_(settings, database), job, fence)
    database.terminate()


def _database(settings: Settings, use: str, connections: int) -> Database:
    name = f"florin {settings.instance} {use}"
    database = Database(settings.primary_url, name=name, server=f"primary {use}")
    database.limits.connections = connections
    return database


def _valkey(settings: Settings) -> Any | None:
    url = settings.redis_url
    return valkey.connect_valkey(url.get_secret_value()) if url else None


def _limit_memory(megabytes: int) -> None:
    """Limit the data segment: a job gets MemoryError before the machine runs out of memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * _MB, megabytes * _MB))


def _begin_at_zero(plan: WorkPlan) -> None:
    """Create all series at 0: Prometheus' rate() ignores the first sample of a series."""
    for queue in plan.queues:
        for outcome in ("completed", "failed", "dead"):
            metrics.queue_jobs.labels(queue.name, outcome)
        metrics.queue_fenced.labels(queue.name)
        metrics.queue_wait_seconds.labels(queue.name)
        metrics.queue_run_seconds.labels(queue.name)
