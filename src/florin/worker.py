"""Worker: every queue, every kind of job, every schedule, on one page; and `florin worker`."""

import sys

from florin.cards.jobs import expiry, retention
from florin.cards.jobs.bulk_issue import Bulk
from florin.cards.jobs.import_cards import Import
from florin.identity import jobs
from florin.kit.encryption import Sealer
from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.kit.queue import main as process
from florin.kit.queue.config import JobType, Plan, Queue, Schedule
from florin.kit.queue.job import Continue, Job
from florin.kit.settings import Settings, SettingsWrong, read

ONE = "job"  # florin worker job ID FENCE: one job in a process of its own


class Parts:
    """What the verbs need beside their job."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        sealer = Sealer(*settings.ring("seal_key"))
        self.bulk = Bulk(database, settings.code_pepper.get_secret_value(), sealer)
        self.imports = Import(database, settings.ring("code_pepper"), sealer)


async def _issue(job: Job, parts: Parts) -> Continue | None:
    return await parts.bulk.issue(job)


async def _import(job: Job, parts: Parts) -> Continue | None:
    return await parts.imports.go_on(job)


async def _sweep(job: Job, _parts: Parts) -> Continue | None:
    return await expiry.sweep(job)


async def _expire(job: Job, parts: Parts) -> Continue | None:
    return await expiry.expire(job, parts.database)


async def _lapse(job: Job, _parts: Parts) -> Continue | None:
    return await expiry.lapse(job)


async def _erase_codes(job: Job, _parts: Parts) -> Continue | None:
    return await retention.erase_codes(job)


async def _erase_sheets(job: Job, _parts: Parts) -> None:
    await retention.erase_sheets(job)


async def _forget_keys(job: Job, parts: Parts) -> Continue | None:
    return await retention.forget_keys(job, days=parts.settings.keys_kept_days)


async def _prune(job: Job, _parts: Parts) -> None:
    async with job.effect(last=True) as tx:
        await tx.run("select florin.queue_prune()")


async def _cleanup(job: Job, parts: Parts) -> Continue | None:
    while not job.stopping:  # whoever else does the same finds other rows
        if not await jobs.clean_up(parts.database):
            return None
    return Continue()


# The most important first. Queues without kinds are there for what will deliver through them.
PLAN = Plan(
    queues=(
        Queue(name="email-delivery", importance=10, objective_s=60),
        Queue(name="sms-delivery", importance=11, objective_s=60),
        Queue(name="webhook-delivery", importance=20, objective_s=60),
        Queue(name="scheduled-delivery", importance=21, objective_s=60),
        Queue(
            name="gift-card-expiry",
            importance=30,
            objective_s=60,
            timeout_s=120,
            at_once=4,
            at_once_here=2,
            kinds={
                "sweep": JobType(run=_sweep),
                "expire": JobType(run=_expire),
                "lapse": JobType(run=_lapse),
            },
        ),
        Queue(name="expiry-reminders", importance=40, objective_s=600),
        Queue(
            name="bulk",
            importance=50,
            timeout_s=120,
            at_once=4,
            at_once_here=2,
            at_once_merchant=2,
            kinds={"issue": JobType(run=_issue), "import": JobType(run=_import)},
        ),
        Queue(name="cleanup-tokens", importance=60, kinds={"cleanup": JobType(run=_cleanup)}),
        Queue(
            name="retention",
            importance=70,
            timeout_s=3600,
            at_once_here=1,
            kinds={
                "codes": JobType(run=_erase_codes),
                "sheets": JobType(run=_erase_sheets),
                "keys": JobType(run=_forget_keys),
                "queue": JobType(run=_prune),
            },
        ),
    ),
    schedules=(
        Schedule(name="expiry", cron="* * * * *", queue="gift-card-expiry", kind="sweep"),
        Schedule(name="tokens", cron="17 * * * *", queue="cleanup-tokens", kind="cleanup"),
        Schedule(name="codes", cron="*/10 * * * *", queue="retention", kind="codes"),
        Schedule(name="sheets", cron="41 4 * * *", queue="retention", kind="sheets"),
        Schedule(name="keys", cron="23 3 * * *", queue="retention", kind="keys"),
        Schedule(name="queue", cron="*/15 * * * *", queue="retention", kind="queue"),
    ),
)


def main(concurrency: int = 5, one: tuple[int, int] | None = None) -> int:
    """Serve `florin worker`: one process, configured by the environment; return the exit code.

    `one` is a job and its fence: run it alone, for a worker.
    """
    try:
        settings = read()
    except SettingsWrong as wrong:
        for mistake in wrong.mistakes:
            print(mistake, file=sys.stderr)
        return 2
    logging.set_up(level=settings.log_level, instance=settings.instance)
    if one is not None:
        return process.serve_one(settings, PLAN, Parts, job=one[0], fence=one[1])
    return process.serve(
        settings,
        PLAN,
        Parts,
        concurrency=concurrency,
        command=[sys.executable, "-P", "-m", "florin", "worker", ONE],
    )
