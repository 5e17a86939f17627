"""Job: a bulk issue or an import that runs in the background, with its progress and result."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database

ERRORS_MAX = 1000  # kept for a job; `refused` counts all

State = Literal["queued", "running", "finished", "failed"]


class LineError(msgspec.Struct, kw_only=True):
    """A line of an import that was refused."""

    line: int
    detail: str


class Job(msgspec.Struct, kw_only=True):
    """A job that issues cards. `done` of `total` cards were issued and `refused` were not; `errors`
    has the reasons of the first thousand. `codes`: waiting to be downloaded, downloading (started,
    not complete), taken, expired, or none.

    A failed job continues where it stopped when the operator retries it.
    """

    id: str
    object: Literal["job"] = "job"
    kind: Literal["bulk", "import"]
    state: State
    done: int
    total: int
    refused: int
    program: str | None
    amount: int | None
    codes: Literal["waiting", "downloading", "taken", "expired", "none"]
    errors: list[LineError]
    created_at: datetime
    finished_at: datetime | None


# A job that failed for good is a dead letter of the queue (state 2).
COLUMNS = """
  j.*, j.state <> 'finished' and exists (
    select from florin.queue_job q where q.queue = 'bulk' and q.state = 2
      and q.dedupe = 'job:' || replace(j.id::text, '-', '')) as failed
"""


def job_dedupe_key(job: UUID) -> str:
    return f"job:{job.hex}"


def parse_job_id(text: str) -> UUID:
    """Raises NotFound."""
    uuid = ids.parse_id("job", text)
    if uuid is None:
        raise NotFound
    return uuid


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


def job_from_row(row: Mapping[str, Any]) -> Job:
    return Job(
        id=ids.show_id("job", row["id"]),
        kind=row["kind"],
        state="failed" if row.get("failed") else cast("State", row["state"]),
        done=row["done"] - row["refused"],  # `done` of the row includes the refused ones
        total=row["total"],
        refused=row["refused"],
        program=ids.show_id("prg", row["program"]) if row["program"] else None,
        amount=row["amount"],
        codes=row["codes"],
        errors=msgspec.json.decode(row["errors"], type=list[LineError]),
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )
