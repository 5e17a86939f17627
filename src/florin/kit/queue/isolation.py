"""Isolation: a job whose worker was lost twice runs the next time in its own process.

Memory exhaustion, an endless loop or a crash of the interpreter then end only that process and are
recorded as the job's failure; after the last attempt the job is dead. Jobs that ran in the same
lost workers are isolated, too; they succeed.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from florin.kit.postgres.database import Database
from florin.kit.queue.config import WorkPlan
from florin.kit.queue.job import Continue, LeaseLost, PermanentFailure, QueuedJob
from florin.kit.queue.results import job_failure

_ORPHAN = 70  # the exit code of a process whose worker is gone

_JOB = """
select id, queue, kind, version, priority, attempts, crashes, fence, payload::text as payload,
  trace, position as log_position, 0.0::float8 as waited_s
from florin.queue_job where id = $1 and fence = $2
"""


class ProcessEnded(Exception):
    """The job's own process ended, by itself or by a signal."""


class JobFailed(Exception):
    """An exception that the job raised in its own process."""


class _ProcessResult(msgspec.Struct, kw_only=True):
    """The result that the process prints to its standard output at its end."""

    ended: str
    error: str = ""
    delay_s: float = 0


def subprocess_runner(command: Sequence[str]) -> Callable[[QueuedJob], Awaitable[Continue | None]]:
    """Run jobs as `command ID FENCE`."""

    async def run(job: QueuedJob) -> Continue | None:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(job.id),
            str(job.fence),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a signal to the worker's process group does not reach it
        )
        try:
            assert process.stdout is not None
            output = await process.stdout.read()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _outcome(job, output, code)

    return run


def _outcome(job: QueuedJob, output: bytes, code: int) -> Continue | None:
    if code != 0:
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ProcessEnded(f"its own process ended with {reason}")
    last = msgspec.json.decode(output.splitlines()[-1], type=_ProcessResult)
    match last.ended:
        case "again":
            return Continue(last.delay_s)
        case "lost":
            raise LeaseLost
        case "hopeless":
            raise PermanentFailure(last.error)
        case "failed":
            raise JobFailed(last.error)
        case _:
            job.finished = last.ended == "finished"
            return None


async def run_isolated_job(
    plan: WorkPlan, database: Database, context: Any, job_id: int, fence: int
) -> None:
    """Run the job in this process and print its result."""
    threading.Thread(target=_end_with_worker, daemon=True).start()
    row = await database.one(_JOB, job_id, fence)
    if row is None:
        _say(_ProcessResult(ended="lost"))
        return
    job = QueuedJob(row, database, lease=plan.lease)
    try:
        ended = await plan.queue(job.queue).kinds[job.kind].run(job, context)
    except LeaseLost:
        _say(_ProcessResult(ended="lost"))
    except PermanentFailure as hopeless:
        _say(_ProcessResult(ended="hopeless", error=str(hopeless)))
    except Exception as error:  # noqa: BLE001 -- any exception is the job's failure
        _say(_ProcessResult(ended="failed", error=job_failure(error).message))
    else:
        if ended is not None:
            _say(_ProcessResult(ended="again", delay_s=ended.delay_s))
        else:
            _say(_ProcessResult(ended="finished" if job.finished else "done"))


def _say(result: _ProcessResult) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_worker() -> None:
    """The worker holds the other end of our input: it closes when the worker is gone."""
    while os.read(0, 1):
        pass
    os._exit(_ORPHAN)
