"""API: the route that takes a file of cards."""

from dataclasses import dataclass
from typing import Annotated

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import Parameter

from florin.cards.api.responses import AnyRequest, request_context, respond
from florin.cards.jobs import import_upload
from florin.cards.jobs.bulk_issue import MOST
from florin.cards.jobs.import_upload import ControlTotals
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
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.valkey.notifications import Notifier
from florin.ledger import refusals as no

BYTES_MAX = 256 * 2**20
_EXAMPLE = "program,amount,code\nprg_01a20e61e846768583118b9d6d8d48f4,2500,M4H0-0NX1-8FT6-GXMN\n"


@dataclass
class TakesCsv(Operation):
    """The operation of a route whose body is a file."""

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
    responses=refusal_responses(
        no.ProgramNotFound,
        EmailNotVerified,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
        QuotaExceeded,
    ),
)
async def import_cards(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    sealer: Sealer,
    wake: Notifier,
    key: Key = "",
    count: Annotated[
        int | None, Parameter(ge=1, le=MOST, description="How many cards are in the file.")
    ] = None,
    amount: Annotated[
        int | None,
        Parameter(ge=1, le=AMOUNT_MAX * MOST, description="What its amounts add up to."),
    ] = None,
    program: Annotated[
        str | None, Parameter(description="The program of lines that name none.")
    ] = None,
) -> Response[Job]:
    """Make active cards from a file, in the background: a line a card, the first line names the
    columns: `amount`, and where wanted `program`, `code`, `currency`, `recipient_name`,
    `recipient_email`. Cards without a code are given one, to be taken from the job. With `count`
    and `amount` nothing happens unless they are right. A line that is refused is in the job's
    `errors`; the others are imported.
    """
    caller.needs("cards:write")
    asked = request_context(caller, key)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
        raise InvalidRequest("this request needs a text/csv body", param="Content-Type")
    said = ControlTotals(count=count, amount=amount, program=program)
    job, replayed = await import_upload.start_import(db, sealer, asked, request.stream(), said)
    wake.notify_all()
    return respond(request, job, status=202, position=await db.position(), replayed=replayed)


handlers: list[HTTPRouteHandler] = [import_cards]
