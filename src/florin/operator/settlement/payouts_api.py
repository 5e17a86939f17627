"""API: payouts of an operator that collects for many merchants."""

from typing import Annotated

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from florin.cards.api.responses import REPLAYED
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit import ids
from florin.kit.errors import Forbidden, IdempotencyKeyRequired, IdempotencyKeyReused, NotFound
from florin.kit.http.body import Page, check_currency, idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.operator.collectors import require_collector
from florin.operator.settlement import payout as reads
from florin.operator.settlement import payouts, statement
from florin.operator.settlement.payout import (
    Payout,
    PayoutBatch,
    PayoutBatchRequest,
    PayoutFailure,
)
from florin.operator.settlement.payouts import PayoutEnded

BatchFilter = Annotated[str | None, Parameter(description="Only payouts of this batch.")]


@post(
    "/payout-batches",
    summary="Pay merchants out",
    responses=refusal_responses(Forbidden, IdempotencyKeyRequired, IdempotencyKeyReused),
)
async def make_payout_batch(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    data: PayoutBatchRequest,
    key: Key = "",
) -> Response[PayoutBatch]:
    """Book the commissions that are due, and a payout for each merchant to whom at least `minimum`
    is owed, all or none. Payments in dispute, in review or with a refund on its way wait. Send the
    money by the file of the batch.
    """
    caller.needs("payouts:write")
    require_collector(settings, caller.merchant)
    checked = idempotency_key(key, required=True)
    check_currency(data.currency, param="currency")
    assert checked is not None
    made, replayed = await payouts.make_batch(db, audit_actor(request, caller), data, key=checked)
    await send_position(request, db)
    return Response(made, headers=REPLAYED if replayed else None)


@get("/payout-batches", summary="List payout batches", responses=refusal_responses())
async def list_payout_batches(
    caller: Caller, db: Database, limit: Limit = 20, starting_after: After = None
) -> Page[PayoutBatch]:
    """Those that you made as an operator."""
    caller.needs("reports:read")
    page = await reads.list_batches(
        db, caller.merchant, limit=limit + 1, after=Pagination.after("pob", starting_after)
    )
    return Pagination.of(page, limit)


@get(
    "/payout-batches/{batch:str}",
    summary="Get a payout batch",
    responses=refusal_responses(NotFound),
)
async def get_payout_batch(caller: Caller, db: Database, batch: str) -> PayoutBatch:
    caller.needs("reports:read")
    return await reads.find_batch(db, caller.merchant, batch)


@get(
    "/payout-batches/{batch:str}/file",
    summary="Export a payout batch",
    media_type="text/csv",
    responses=refusal_responses(NotFound),
)
async def export_payout_batch(caller: Caller, db: Database, batch: str) -> Response[str]:
    """The payouts of a batch as a CSV file, for your bank."""
    caller.needs("reports:read")
    content = await statement.write_batch(db, caller.merchant, ids.require_id("pob", batch))
    return csv_file(content, "payouts.csv")


@get("/payouts", summary="List payouts", responses=refusal_responses())
async def list_payouts(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    batch: BatchFilter = None,
) -> Page[Payout]:
    """What you were paid; for operators also what they paid."""
    caller.needs("reports:read")
    page = await reads.list_payouts(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("pyo", starting_after),
        batch=Pagination.only("pob", batch),
    )
    return Pagination.of(page, limit)


@get("/payouts/{payout:str}", summary="Get a payout", responses=refusal_responses(NotFound))
async def get_payout(caller: Caller, db: Database, payout: str) -> Payout:
    caller.needs("reports:read")
    return await reads.find_payout(db, caller.merchant, payout)


@post(
    "/payouts/{payout:str}/confirm",
    status_code=200,
    summary="Confirm a payout",
    responses=refusal_responses(Forbidden, NotFound, PayoutEnded),
)
async def confirm_payout(
    request: AnyRequest, caller: Caller, db: Database, settings: Settings, payout: str
) -> Payout:
    """The money arrived. A payout that is confirmed already is returned unchanged."""
    caller.needs("payouts:write")
    require_collector(settings, caller.merchant)
    found = await payouts.confirm_payout(db, audit_actor(request, caller), payout)
    await send_position(request, db)
    return found


@post(
    "/payouts/{payout:str}/fail",
    status_code=200,
    summary="Undo a payout",
    responses=refusal_responses(Forbidden, NotFound),
)
async def fail_payout(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    payout: str,
    data: PayoutFailure,
) -> Payout:
    """The money did not arrive or came back: what the payout settled is owed again, and the next
    batch has it. A payout that has failed already is returned unchanged.
    """
    caller.needs("payouts:write")
    require_collector(settings, caller.merchant)
    found = await payouts.fail_payout(db, audit_actor(request, caller), payout, data.reason)
    await send_position(request, db)
    return found


def csv_file(content: str, name: str) -> Response[str]:
    """A CSV file to download."""
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
    }
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


handlers: list[HTTPRouteHandler] = [
    make_payout_batch,
    list_payout_batches,
    get_payout_batch,
    export_payout_batch,
    list_payouts,
    get_payout,
    confirm_payout,
    fail_payout,
]
