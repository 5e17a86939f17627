"""API: the routes that issue cards in bulk, show jobs and download their codes."""

from collections.abc import AsyncIterator
from typing import Annotated

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.response import Stream

from florin.cards.api import batches
from florin.cards.api.responses import request_context, respond
from florin.cards.jobs import bulk_issue, code_export
from florin.cards.jobs import job as jobs
from florin.cards.jobs.bulk_issue import BulkRequest
from florin.cards.jobs.code_sheet import SheetTooLarge, take_sheet
from florin.cards.jobs.job import Job
from florin.cards.locations import OF_JOB, require_own
from florin.deliveries.channels.pdf import Paper, PdfNotInstalled
from florin.identity.authentication import Caller, EmailNotVerified
from florin.identity.request_context import audit_actor
from florin.kit.amounts import DEFAULT_LOCALE
from florin.kit.encryption import Sealer
from florin.kit.errors import IdempotencyKeyRequired, IdempotencyKeyReused, NotFound, QuotaExceeded
from florin.kit.http.body import Page
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.valkey.notifications import Notifier
from florin.ledger import refusals as no

SheetLocale = Annotated[
    str, Parameter(min_length=2, max_length=35, description="A language tag, such as de.")
]


@post(
    "/cards/bulk",
    summary="Issue many cards",
    status_code=202,
    responses=refusal_responses(
        no.AmountNotAllowed,
        no.ProgramNotFound,
        EmailNotVerified,
        QuotaExceeded,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def bulk_cards(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    notifier: Notifier,
    data: BulkRequest,
    key: Key = "",
) -> Response[Job]:
    """Issue up to 1,000,000 cards in the background. The job shows the progress; when it is
    finished, its codes can be downloaded once. With `activate: false` they are pending and carry no
    liability; `POST /jobs/{id}/activate` activates all of them.
    """
    caller.needs("cards:write")
    job, replayed = await bulk_issue.start_bulk_issue(db, request_context(caller, key), data)
    notifier.notify_all()
    return respond(request, job, status=202, position=await db.position(), replayed=replayed)


@get("/jobs", summary="List jobs", responses=refusal_responses())
async def list_jobs(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[Job]:
    caller.needs("cards:read")
    after = Pagination.after("job", starting_after)
    return Pagination.of(
        await jobs.list_jobs(db, caller.merchant, limit=limit + 1, after=after), limit
    )


@get("/jobs/{job:str}", summary="Get a job", responses=refusal_responses(NotFound))
async def get_job(caller: Caller, db: Database, job: str) -> Job:
    """The progress of a job. `failed`: three attempts failed; the job waits for the operator."""
    caller.needs("cards:read")
    return await jobs.find_job(db, caller.merchant, jobs.parse_job_id(job))


_TAKING_REFUSALS = (
    NotFound,
    code_export.JobNotFinished,
    code_export.CodesTaken,
    code_export.CodesExpired,
    code_export.CodesBeingTaken,
)


@post(
    "/jobs/{job:str}/codes",
    summary="Download the codes of a job",
    status_code=200,
    media_type="text/csv",
    opt={"unbounded": True},
    responses=refusal_responses(*_TAKING_REFUSALS),
)
async def take_job_codes(
    request: AnyRequest, caller: Caller, db: Database, sealer: Sealer, job: str
) -> Stream:
    """The codes as a CSV file, once: afterwards they are erased. When a download is interrupted,
    only the member or key that started it may repeat it. The audit log records the start and the
    end of each download. A key that is bound to a location can download the codes of its own
    location's jobs only.
    """
    caller.needs("cards:write")
    uuid = jobs.parse_job_id(job)
    await require_own(db, request_context(caller, None, required=False), OF_JOB, uuid)
    lines = await code_export.take_codes(db, sealer, audit_actor(request, caller), uuid)
    return _attach(lines, f"{job}.csv", "text/csv; charset=utf-8")


@post(
    "/jobs/{job:str}/sheet.pdf",
    summary="Print the cards of a job",
    status_code=200,
    media_type="application/pdf",
    operation_id="take_job_sheet",
    opt={"unbounded": True},
    responses=refusal_responses(*_TAKING_REFUSALS, SheetTooLarge, PdfNotInstalled),
)
async def take_job_sheet(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    job: str,
    paper: Paper = "a4",
    locale: SheetLocale = DEFAULT_LOCALE,
) -> Stream:
    """The codes as a PDF to print and cut, ten cards a page, instead of as CSV and once like it. At
    most 1,000 cards.
    """
    caller.needs("cards:write")
    uuid = jobs.parse_job_id(job)
    await require_own(db, request_context(caller, None, required=False), OF_JOB, uuid)
    by = audit_actor(request, caller)
    pages = await take_sheet(db, sealer, by, uuid, paper=paper, locale=locale)
    return _attach(pages, f"{job}.pdf", "application/pdf")


def _attach(content: AsyncIterator[bytes], name: str, media_type: str) -> Stream:
    """A file to download that no cache keeps."""
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
    }
    return Stream(content, media_type=media_type, headers=headers)


handlers: list[HTTPRouteHandler] = [
    bulk_cards,
    list_jobs,
    get_job,
    take_job_codes,
    take_job_sheet,
    *batches.handlers,
]
