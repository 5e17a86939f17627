"""Toys: a worker process with misbehaving jobs for the tests: python -m …toys.

Their effects are counted in the table `toy`, which the worker itself never reads.
"""

import asyncio
import os
import signal
import sys
import time
from datetime import timedelta
from typing import Any

import florin
from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.kit.queue import main as process
from florin.kit.queue import runner, worker
from florin.kit.queue.config import Follower, JobType, QueueConfig, Schedule, WorkPlan
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.kit.queue.job import Continue, PermanentFailure, QueuedJob
from florin.kit.settings import Settings, read_settings
from florin.kit.valkey import notifications

LEASE_S = 2.0
NEWEST = int(getattr(florin, "TOYS_VERSION", 2))  # version of payloads; a release may set another
# To public: each migration resets the grants of the application's role.
TABLE = """
create table florin.toy (
  id bigint generated always as identity, word text, job bigint, pid integer, attempt integer,
  at timestamptz not null default clock_timestamp());
grant select, insert on florin.toy to public
"""
_NOTE = "insert into florin.toy (word, job, pid, attempt) values ($1, $2, $3, $4)"


async def note(job: QueuedJob, database: Database, *, suffix: str = "") -> None:
    """Record an attempt, outside any lease."""
    async with database.connection() as connection:
        await connection.execute(_NOTE, _word(job) + suffix, job.id, os.getpid(), job.attempts)


async def effect(job: QueuedJob, _database: Database) -> None:
    async with job.effect(last=True) as tx:
        await tx.run(_NOTE, _word(job), job.id, os.getpid(), job.attempts)


async def slow(job: QueuedJob, database: Database) -> None:
    """Record its beginning, sleep, then have its effect."""
    await note(job, database, suffix=":begun")
    await asyncio.sleep(job.payload.get("seconds", 1))
    async with job.effect(last=True) as tx:
        await tx.run(_NOTE, _word(job), job.id, os.getpid(), job.attempts)
        if job.attempts == 1:
            await asyncio.sleep(job.payload.get("within", 0))


async def stopped(job: QueuedJob, database: Database) -> None:
    """Suspend the whole process, as an overloaded machine would; the worker that takes the job
    over sleeps a while.
    """
    await note(job, database, suffix=":begun")
    if job.attempts == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        await asyncio.sleep(2 * LEASE_S)
    async with job.effect(last=True) as tx:
        await tx.run(_NOTE, _word(job), job.id, os.getpid(), job.attempts)


async def steps(job: QueuedJob, database: Database) -> Continue | None:
    """Ten effects, one per slice; the table itself holds the progress."""
    async with job.effect() as tx:
        done = await tx.value("select count(*) from florin.toy where word = $1", _word(job))
        if done < 10:
            await tx.run(_NOTE, _word(job), job.id, os.getpid(), job.attempts)
    await asyncio.sleep(0.05)
    del database
    return Continue() if done < 9 else None


async def nothing(job: QueuedJob, database: Database) -> None:
    del job, database


async def poison(job: QueuedJob, database: Database) -> None:  # noqa: C901, PLR0912 -- one case per failure
    await note(job, database, suffix=":begun")
    match job.payload["how"]:
        case "raise":
            raise ValueError("no \0 good")
        case "give up":
            raise PermanentFailure("never")
        case "cancel":
            raise asyncio.CancelledError
        case "exit":
            raise SystemExit(3)
        case "hang":
            await asyncio.Event().wait()
        case "ignores-cancel":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue
        case "block":
            time.sleep(3600)  # noqa: ASYNC251 -- blocking the loop is the failure
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "eat":
            eaten: list[bytes] = []
            while True:
                eaten.append(bytes(32_000_000))
        case _:
            raise AssertionError


def _word(job: QueuedJob) -> str:
    payload = job.payload
    return str(payload.get("word") or payload.get("topic") or payload.get("tick") or job.kind)


PLAN = WorkPlan(
    queues=(
        QueueConfig(
            name="toys",
            importance=1,
            timeout_s=30,
            back_off_s=0.2,
            kinds={
                "note": JobType(run=note),
                "effect": JobType(run=effect, version=NEWEST),
                "slow": JobType(run=slow),
                "stopped": JobType(run=stopped),
                "steps": JobType(run=steps),
                "nothing": JobType(run=nothing),
            },
        ),
        QueueConfig(
            name="poison",
            importance=2,
            timeout_s=1,
            back_off_s=0.2,
            kinds={"poison": JobType(run=poison)},
        ),
        QueueConfig(name="few", importance=3, max_running=3, kinds={"slow few": JobType(run=slow)}),
        QueueConfig(
            name="one", importance=3, max_running_per_worker=1, kinds={"alone": JobType(run=effect)}
        ),
        QueueConfig(
            name="slowly", importance=4, per_second=10, kinds={"seldom": JobType(run=effect)}
        ),
        QueueConfig(name="ticks", importance=5, kinds={"tick": JobType(run=effect)}),
        QueueConfig(name="own", importance=5, own_slots=3, kinds={"slow own": JobType(run=slow)}),
        QueueConfig(name="heard", importance=6, kinds={"heard": JobType(run=effect)}),
    ),
    schedules=(Schedule(name="minutely", cron="* * * * *", queue="ticks", kind="tick"),),
    followers=(Follower(topic="toy.*", queue="heard", kind="heard"),),
    lease=timedelta(seconds=LEASE_S),
)


def word(number: int | str, kind: str = "effect", queue: str = "toys", **more: Any) -> NewJob:
    fields = {name: more.pop(name) for name in list(more) if name in NewJob.__struct_fields__}
    return NewJob(queue=queue, kind=kind, payload={"word": str(number), **more}, **fields)


async def fill(connection: Any, *new_jobs: NewJob) -> int:
    return await enqueue_now(connection, *new_jobs)


async def fill_misled(connection: Any, *new_jobs: NewJob) -> None:
    """Fill the queue, with statistics of an empty table, taken when all jobs were done but not
    vacuumed yet, as happens in a queue that is empty and full by turns.
    """
    for delete in (True, False):
        for start in range(0, len(new_jobs), 1000):
            await fill(connection, *new_jobs[start : start + 1000])
        if delete:
            await connection.execute("delete from florin.queue_job; analyze florin.queue_job")


def main(arguments: list[str]) -> int:
    settings = read_settings()
    logging.configure_logging(level=settings.log_level, instance=settings.instance)
    worker.HUNG_S = float(os.environ.get("TOYS_HUNG_S", worker.HUNG_S))
    if look := os.environ.get("TOYS_LOOK_S"):
        notifications.LOOK_EVERY_S = notifications.LOOK_EVERY_WOKEN_S = float(look)
    runner.OVERDUE_S = float(os.environ.get("TOYS_OVERDUE_S", runner.OVERDUE_S))
    worker.FINISH_WITHIN_S = float(os.environ.get("TOYS_FINISH_S", worker.FINISH_WITHIN_S))
    if arguments[0] == "one":
        return process.serve_one_job(
            settings, PLAN, _database, job=int(arguments[1]), fence=int(arguments[2])
        )
    return process.serve_worker(
        settings,
        PLAN,
        _database,
        concurrency=int(arguments[0]),
        command=[sys.executable, "-P", "-m", "tests.kit.queue.toys", "one"],
    )


def _database(_settings: Settings, database: Database) -> Database:
    return database


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
