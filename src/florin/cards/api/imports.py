"""API: the route that imports cards from a CSV file."""

from dataclasses import dataclass
from typing import Annotated, Literal

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import Parameter

from florin.cards.api.responses import request_context, respond
from florin.cards.jobs import import_upload
from florin.cards.jobs.bulk_issue import MOST
from florin.cards.jobs.import_file import ControlTotals, FileFormat
from florin.cards.jobs.job import Job
from florin.identity.authentication import Caller, EmailNotVerified
from florin.kit.encryption import Sealer
from florin.kit.errors import (
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    InvalidRequest,
    QuotaExceeded,
)
from florin.kit.http.body import AMOUNT_MAX
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.valkey.notifications import Notifier
from florin.ledger import refusals as no

BYTES_MAX = 256 * 2**20
_EXAMPLE = "program,amount,code\nprg_01a20e61e846768583118b9d6d8d48f4,2500,M4H0-0NX1-8FT6-GXMN\n"


@dataclass
class TakesCsv(Operation):
    """The OpenAPI operation of a route whose body is a CSV file."""

    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.STRING)
        media = OpenAPIMediaType(schema=schema, example=_EXAMPLE)
        self.request_body = RequestBody(content={"text/csv": media}, required=True)


@post(
    "/cards/import",
    summary="Import cards",
    status_code=202,
    operation_class=TakesCsv,
    request_max_body_size=BYTES_MAX,
    opt={"streams": True},
    responses={
        **refusal_responses(
            no.ProgramNotFound,
            EmailNotVerified,
            IdempotencyKeyRequired,
            IdempotencyKeyReused,
            QuotaExceeded,
        ),
        200: ResponseSpec(Job, description="A dry run.", generate_examples=False),
    },
)
async def import_cards(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    notifier: Notifier,
    key: Key = "",
    count: Annotated[
        int | None, Parameter(ge=1, le=MOST, description="The number of cards in the file.")
    ] = None,
    amount: Annotated[
        int | None,
        Parameter(ge=1, le=AMOUNT_MAX * MOST, description="The sum of the amounts in the file."),
    ] = None,
    program: Annotated[
        str | None, Parameter(description="The program of lines without one.")
    ] = None,
    columns: Annotated[
        str | None,
        Parameter(
            max_length=2000,
            description="What columns are: `amount:Balance,code:Card no,metadata.order:Order`.",
        ),
    ] = None,
    amounts: Annotated[
        Literal["minor", "decimal"],
        Parameter(description="`minor`: 2500; `decimal`: 25.00, 25,00 or $25.00."),
    ] = "minor",
    dates: Annotated[
        Literal["dmy", "mdy"] | None,
        Parameter(description="How dates with slashes are written: day or month first."),
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(description="Only read the file; 200 with what its job would begin with."),
    ] = False,
) -> Response[Job]:
    """Create cards from a CSV file, in the background. The first line names the columns, by
    Florin's names or those of the usual exports: `amount` and, optionally, `program`, `code`,
    `pin`, `currency`, `expires_at`, `state`, `recipient_name`, `recipient_email` and
    `metadata.KEY`; each further line is one card. A card without a code gets one; download it
    from the job. With `count` and `amount` (in minor units) the file is refused unless they match.
    A refused line is listed in the job's `errors`; the others are imported. The job's `file` says
    how the file was read.
    """
    caller.needs("cards:write")
    context = request_context(caller, key, required=not dry_run)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
        raise InvalidRequest("Content-Type must be text/csv", param="Content-Type")
    totals = ControlTotals(count=count, amount=amount, program=program)
    form = FileFormat(columns=columns, amounts=amounts, dates=dates)
    with import_upload.upload_slot(caller.merchant):
        if dry_run:
            check = await import_upload.check_import(
                db, caller.merchant, request.stream(), totals, form
            )
            return Response(check, status_code=200)
        job, replayed = await import_upload.start_import(
            db, sealer, context, request.stream(), totals, form
        )
    notifier.notify_all()
    return respond(request, job, status=202, position=await db.position(), replayed=replayed)


handlers: list[HTTPRouteHandler] = [import_cards]
