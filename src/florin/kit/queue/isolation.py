"""Isolation: a job that lost its worker twice runs the next time in a process of its own.

Whatever it does there, it does to nobody: memory it eats up, a loop it never leaves, a crash of
the interpreter end that process, are written down as its failure, and after the last attempt it
is dead. So are its neighbours in the lost workers treated; they succeed, and are done.
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
    """The job's own process was ended, by itself or by the system."""


class JobFailed(Exception):
    """What the job raised in its own process."""


class _ProcessResult(msgspec.Struct, kw_only=True):
    """What the process says at its end, on its standard output."""

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
            start_new_session=True,  # a signal to the worker's group is the worker's alone
        )
        try:
            assert process.stdout is not None
            said = await process.stdout.read()
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _outcome(job, said, code)

    return run


def _outcome(job: QueuedJob, said: bytes, code: int) -> Continue | None:
    if code != 0:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ProcessEnded(f"its own process ended with {how}")
    last = msgspec.json.decode(said.splitlines()[-1], type=_ProcessResult)
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
    """In that process: run the job and say what came of it."""
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
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the job's failure
        _say(_ProcessResult(ended="failed", error=job_failure(error).message))
    else:
        if ended is not None:
            _say(_ProcessResult(ended="again", delay_s=ended.delay_s))
        else:
            _say(_ProcessResult(ended="finished" if job.finished else "done"))


def _say(said: _ProcessResult) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_worker() -> None:
    """The worker holds the other end of our input: it closes when the worker is gone."""
    while os.read(0, 1):
        pass
    os._exit(_ORPHAN)
