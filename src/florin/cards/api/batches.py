"""API: the routes that change all cards of a job, and stop a job."""

from typing import get_args

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from florin.cards.api.responses import request_context, respond
from florin.cards.jobs import batch_change
from florin.cards.jobs import job as jobs
from florin.cards.jobs.batch_change import BatchChange
from florin.cards.jobs.code_export import JobNotFinished
from florin.cards.jobs.job import Job
from florin.cards.locations import OF_JOB, require_own
from florin.cards.requests import ExtendRequest
from florin.identity.authentication import Caller
from florin.kit.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
)
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.valkey.notifications import Notifier

_MEANS: dict[BatchChange, str] = {
    "activate": "Every card becomes spendable and its liability begins",
    "block": "Nothing can be spent from the cards until they are unblocked",
    "extend": "Every card gets the later expiry date",
    "close": "Permanent; cards with a balance or an open hold are refused",
}
_REFUSALS = refusal_responses(
    NotFound,
    JobNotFinished,
    InvalidRequest,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    QuotaExceeded,
)


def _change_route(change: BatchChange) -> HTTPRouteHandler:
    @post(
        f"/jobs/{{job:str}}/{change}",
        status_code=202,
        summary=f"{change.capitalize()} the cards of a job",
        description=f"{_MEANS[change]}. This is a job of its own, exact and resumable: `done` cards"
        " were changed or were so already, `refused` were not, for the reasons in `errors`.",
        operation_id=f"{change}_batch",
        responses=_REFUSALS,
    )
    async def change_batch(
        request: AnyRequest,
        caller: Caller,
        db: Database,
        notifier: Notifier,
        job: str,
        key: Key = "",
    ) -> Response[Job]:
        return await _start(request, caller, db, notifier, change, job, key, None)

    return change_batch


@post(
    "/jobs/{job:str}/extend",
    status_code=202,
    summary="Extend the cards of a job",
    description=f"{_MEANS['extend']}. This is a job of its own, exact and resumable.",
    operation_id="extend_batch",
    responses=_REFUSALS,
)
async def extend_batch(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    notifier: Notifier,
    job: str,
    data: ExtendRequest,
    key: Key = "",
) -> Response[Job]:
    return await _start(request, caller, db, notifier, "extend", job, key, data)


async def _start(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    notifier: Notifier,
    change: BatchChange,
    job: str,
    key: str,
    extend: ExtendRequest | None,
) -> Response[Job]:
    caller.needs("cards:write")
    context = request_context(caller, key, required=change == "activate")
    batch = jobs.parse_job_id(job)
    await require_own(db, context, OF_JOB, batch)
    made, replayed = await batch_change.start_batch_change(db, context, change, batch, extend)
    notifier.notify_all()
    return respond(request, made, status=202, position=await db.position(), replayed=replayed)


@post(
    "/jobs/{job:str}/cancel",
    status_code=200,
    summary="Stop a job",
    responses=refusal_responses(NotFound, InvalidRequest),
)
async def cancel_job(request: AnyRequest, caller: Caller, db: Database, job: str) -> Response[Job]:
    """Stop what the job has not begun. The cards that it issued or changed stay so, and their codes
    can be downloaded; `cancelled` counts the others. A finished job is returned unchanged; one
    that moves the test clock is refused.
    """
    caller.needs("cards:write")
    context = request_context(caller, None, required=False)
    uuid = jobs.parse_job_id(job)
    await require_own(db, context, OF_JOB, uuid)
    stopped = await batch_change.cancel_job(db, caller.merchant, uuid)
    return respond(request, stopped, status=200, position=await db.position(), replayed=False)


handlers: list[HTTPRouteHandler] = [
    *(_change_route(change) for change in get_args(BatchChange) if change != "extend"),
    extend_batch,
    cancel_job,
]
