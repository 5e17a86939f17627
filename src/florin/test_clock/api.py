"""API: the routes of the test clock."""

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from florin.cards.jobs.job import Job
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.errors import IdempotencyKeyReused, QuotaExceeded
from florin.kit.http.body import idempotency_key
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.valkey.notifications import Notifier
from florin.test_clock import clock
from florin.test_clock.clock import AdvanceRequest, ClockMoving, NotTestMerchant, TestClock


@get(
    "/test-clock",
    summary="Get the test clock",
    responses=refusal_responses(NotTestMerchant),
)
async def get_test_clock(caller: Caller, db: Database) -> TestClock:
    """The time of your test merchant, which goes on from where it was moved to."""
    return await clock.read_test_clock(db, caller.merchant)


@post(
    "/test-clock/advance",
    status_code=202,
    summary="Advance the test clock",
    responses=refusal_responses(NotTestMerchant, ClockMoving, QuotaExceeded, IdempotencyKeyReused),
)
async def advance_test_clock(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    notifier: Notifier,
    data: AdvanceRequest,
    idempotency: Key = "",
) -> Response[Job]:
    """Move the clock ahead. What is due until then happens in its order and at its time: holds and
    cards expire, webhooks are sent. The job is finished once all of it has happened.
    """
    caller.needs("programs:write")
    by = audit_actor(request, caller)
    key = idempotency_key(idempotency, required=False)
    job, replayed = await clock.start_advance(db, by, data, key=key)
    await send_position(request, db)
    notifier.notify_all()
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(job, status_code=202, headers=headers)


handlers: list[HTTPRouteHandler] = [get_test_clock, advance_test_clock]
