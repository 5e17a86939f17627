"""Job: a bulk issue or an import that runs in the background, with its progress and result."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.queue.enqueue import NewJob, enqueue
from florin.kit.queue.job import PermanentFailure

ERRORS_MAX = 1000  # kept for a job; `refused` counts all

State = Literal["queued", "running", "finished", "failed"]
Codes = Literal["waiting", "downloading", "taken", "expired", "none"]


class LineError(msgspec.Struct, kw_only=True):
    """Why a line of an import was refused or, with `line` null, why the job failed."""

    line: int | None
    detail: str


class ImportFile(msgspec.Struct, kw_only=True):
    """How an imported file was read. `count`, `amount`: the cards of the file and the sum of their
    amounts in minor units, refused ones included, as the control totals count them; `columns`: by
    field, the name in the file; `ignored`: the names that are no field; `warnings`: what to know
    before these cards are used.
    """

    count: int
    amount: int
    separator: str
    encoding: Literal["utf-8", "utf-16", "windows-1252"]
    columns: dict[str, str]
    ignored: list[str]
    warnings: list[str]


class Job(msgspec.Struct, kw_only=True):
    """A job that issues cards, changes those of another job, its `batch`, or moves the test clock
    (`advance`, with a `total` of 1). `done` of `total` cards were issued or changed and `refused`
    were not; `errors` has the reasons of the first thousand, and why a job failed. `cancelled`:
    cards that were not begun when it was stopped. `codes`: waiting to be downloaded, downloading
    (started, not complete), taken, expired, or none. `file`: of an import, how it was read.

    A failed job continues where it stopped when the operator retries it. The codes of the cards
    that it issued can be downloaded.
    """

    id: str
    object: Literal["job"] = "job"
    kind: Literal["bulk", "import", "activate", "block", "extend", "close", "advance"]
    state: State
    done: int
    total: int
    refused: int
    cancelled: int
    batch: str | None
    file: ImportFile | None
    program: str | None
    amount: int | None
    codes: Codes
    errors: list[LineError]
    created_at: datetime
    finished_at: datetime | None


# A job that failed for good is a dead letter of the queue (state 2).
_DEAD = """
from florin.queue_job q where q.queue = 'bulk' and q.state = 2
  and q.dedupe = 'job:' || replace(j.id::text, '-', '')
"""
FAILED = f"(j.state <> 'finished' and exists (select {_DEAD}))"
COLUMNS = f"""
  j.*, {FAILED} as failed, case when j.state <> 'finished' then
    (select q.error {_DEAD} order by q.id desc limit 1) end as failure
"""
_FAILURE = re.compile(r"PermanentFailure: (.*) \([\w.]+:[0-9]+\)\Z", re.DOTALL)
_INTERNAL = "it stopped at an internal error; the operator of Florin can retry it"


def job_dedupe_key(job: UUID) -> str:
    return f"job:{job.hex}"


async def enqueue_job(tx: Tx, *, queue: str, kind: str, merchant: UUID, job: UUID) -> None:
    """Enqueue the work of a job, in the transaction that creates it."""
    payload = {"merchant": str(merchant), "job": str(job)}
    dedupe = job_dedupe_key(job)
    await enqueue(tx, NewJob(queue=queue, kind=kind, payload=payload, dedupe=dedupe))


async def read_enqueued_job(
    database: Database, sql: str, payload: Mapping[str, Any]
) -> tuple[UUID, UUID, Row]:
    """Read the job that `enqueue_job` enqueued; return its merchant, its id and the row of `sql`,
    whose parameters these are. Raises PermanentFailure.
    """
    merchant, job = UUID(payload["merchant"]), UUID(payload["job"])
    row = await database.one(sql, merchant, job)
    if row is None:
        raise PermanentFailure(f"job {ids.show_id('job', job)} does not exist")
    return merchant, job, row


def parse_job_id(text: str) -> UUID:
    """Raises NotFound."""
    return ids.require_id("job", text)


async def find_job(database: Database, merchant: UUID, job: UUID) -> Job:
    """Raises NotFound."""
    row = await database.one(
        f"select {COLUMNS} from florin.job j where j.merchant = $1 and j.id = $2",  # noqa: S608 -- our own text
        merchant,
        job,
    )
    if row is None:
        raise NotFound
    return job_from_row(row)


async def list_jobs(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None
) -> list[Job]:
    rows = await database.all(
        f"select {COLUMNS} from florin.job j where j.merchant = $1"  # noqa: S608 -- our own text
        " and ($2::uuid is null or j.id < $2) order by j.id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [job_from_row(row) for row in rows]


def job_as_created(
    job: Job, *, codes: Codes, refused: int = 0, errors: Sequence[LineError] = ()
) -> Job:
    """The job as its first answer showed it: nothing is done. `refused`: by the file itself."""
    return msgspec.structs.replace(
        job,
        state="queued",
        done=0,
        refused=refused,
        cancelled=0,
        codes=codes,
        errors=list(errors),
        finished_at=None,
    )


def job_from_row(row: Mapping[str, Any]) -> Job:
    errors = msgspec.json.decode(row["errors"], type=list[LineError])
    if row.get("failed"):
        errors.append(LineError(line=None, detail=_failure(row["failure"])))
    return Job(
        id=ids.show_id("job", row["id"]),
        kind="advance" if row["advance_to"] else row["change"] or row["kind"],
        state="failed" if row.get("failed") else cast("State", row["state"]),
        # `done` of the row includes the refused and the cancelled ones.
        done=row["done"] - row["refused"] - row["cancelled"],
        total=row["total"],
        refused=row["refused"],
        cancelled=row["cancelled"],
        batch=ids.show_id("job", row["cards_of"]) if row["cards_of"] else None,
        file=msgspec.json.decode(row["file"], type=ImportFile) if row["file"] else None,
        program=ids.show_id("prg", row["program"]) if row["program"] else None,
        amount=row["amount"],
        codes=row["codes"],
        errors=errors,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _failure(error: str | None) -> str:
    """Why a job failed, as its merchant reads it: errors of ours are for the operator's log."""
    found = _FAILURE.fullmatch(error or "")
    return found.group(1) if found else _INTERNAL
