"""Failed jobs: notices of jobs that failed for good. The queue, which knows no merchants' jobs, has
them as its dead letters; a sweep finds those.
"""

from florin.kit.queue.job import QueuedJob

# A job that is retried and fails again is another dead letter, and another cause.
_FAILED = """
select notify_staff(j.merchant, 'job.failed', j.id::text || '.' || q.id,
  jsonb_build_object('job', j.id, 'done', j.done - j.refused - j.cancelled, 'total', j.total))
from florin.queue_job q
join florin.job j
  on j.merchant = (q.payload->>'merchant')::uuid and j.id = (q.payload->>'job')::uuid
where q.queue = 'bulk' and q.state = 2 and q.payload ? 'job' and j.state <> 'finished'
"""


async def notify_of_failed_jobs(job: QueuedJob) -> None:
    """Once for each failure, to those who subscribed before it is found, a minute at most."""
    async with job.effect() as tx:
        await tx.run(_FAILED)
