"""No-op worker: an unchanged Florin worker whose jobs do nothing.

python -m florin.bench.workers.noop_worker JOBS [early]
"""

import sys

from florin.bench.workers.job_counter import Count
from florin.kit.observability import logging
from florin.kit.postgres.database import Database
from florin.kit.queue import main as process
from florin.kit.queue.config import JobType, QueueConfig, WorkPlan
from florin.kit.queue.enqueue import NewJob
from florin.kit.queue.job import QueuedJob
from florin.kit.settings import Settings, read_settings
from florin.ops.topology.worker_process import SLOTS

QUEUE = "noops"
KIND = "nothing"


async def _nothing(_job: QueuedJob, count: Count) -> None:
    count()


PLAN = WorkPlan(
    queues=(QueueConfig(name=QUEUE, importance=1, kinds={KIND: JobType(run=_nothing)}),),
)


def noop_jobs(number: int) -> NewJob:
    return NewJob(queue=QUEUE, kind=KIND, payload={"number": number})


def main(jobs: int, *, early: bool) -> int:
    """Work until SIGTERM."""
    settings = read_settings()
    logging.configure_logging(level=settings.log_level, instance=settings.instance)
    counts: list[Count] = []

    def context(_settings: Settings, _database: Database) -> Count:
        """Called once, before any job has moved from the outbox."""
        counts.append(Count(jobs, early=early))
        return counts[0]

    try:
        return process.serve_worker(settings, PLAN, context, concurrency=SLOTS, command=["false"])
    finally:
        for count in counts:
            count.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), early="early" in sys.argv[2:]))
