"""Test gateway API: the dashboard of the gateway `test`; never in production."""

from uuid import UUID

from litestar import post

from florin.identity.authentication import Caller
from florin.identity.request_context import send_position
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Amount, Request
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import enqueue
from florin.orders.services import OrderServices
from florin.payments.gateway import GatewayOff
from florin.payments.gateways.test import (
    TestPaymentNotPaid,
    add_dispute,
    add_refund,
    resolve_dispute,
)
from florin.payments.jobs import look_job
from florin.payments.payment import Payment, find_payment


class DashboardRefundRequest(Request, kw_only=True):
    """Refund `amount`, by default what is left of the payment."""

    amount: Amount | None = None


def _begin(caller: Caller, selling: OrderServices, payment: str) -> UUID:
    caller.needs("orders:write")
    selling.gateways.require_test()
    return ids.require_id("pay", payment)


async def _look(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: UUID
) -> Payment:
    await selling.looker.look(caller.merchant, payment)
    await send_position(request, db)
    return await find_payment(db, caller.merchant, ids.show_id("pay", payment))


@post(
    "/test-gateway/payments/{payment:str}/refund",
    status_code=200,
    summary="Refund at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def refund_at_test_gateway(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    selling: OrderServices,
    payment: str,
    data: DashboardRefundRequest | None = None,
) -> Payment:
    """As if an employee had refunded in the gateway's dashboard: Florin learns of it afterwards."""
    uuid = _begin(caller, selling, payment)
    amount = data.amount if data is not None else None
    async with db.transaction() as tx:
        await add_refund(tx, caller.merchant, uuid, amount)
        await enqueue(tx, look_job(caller.merchant, uuid, cause=ids.new_id().hex))
    return await _look(request, caller, db, selling, uuid)


@post(
    "/test-gateway/payments/{payment:str}/dispute",
    status_code=200,
    summary="Dispute at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def dispute_at_test_gateway(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: str
) -> Payment:
    """As if the buyer had disputed the payment at the bank."""
    uuid = _begin(caller, selling, payment)
    async with db.transaction() as tx:
        await add_dispute(tx, caller.merchant, uuid)
        await enqueue(tx, look_job(caller.merchant, uuid, cause=ids.new_id().hex))
    return await _look(request, caller, db, selling, uuid)


@post(
    "/test-gateway/payments/{payment:str}/win",
    status_code=200,
    summary="Win a dispute at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def win_at_test_gateway(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: str
) -> Payment:
    uuid = _begin(caller, selling, payment)
    async with db.transaction() as tx:
        await resolve_dispute(tx, caller.merchant, uuid, "won")
        await enqueue(tx, look_job(caller.merchant, uuid, cause=ids.new_id().hex))
    return await _look(request, caller, db, selling, uuid)


@post(
    "/test-gateway/payments/{payment:str}/lose",
    status_code=200,
    summary="Lose a dispute at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def lose_at_test_gateway(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: str
) -> Payment:
    uuid = _begin(caller, selling, payment)
    async with db.transaction() as tx:
        await resolve_dispute(tx, caller.merchant, uuid, "lost")
        await enqueue(tx, look_job(caller.merchant, uuid, cause=ids.new_id().hex))
    return await _look(request, caller, db, selling, uuid)


handlers = [
    refund_at_test_gateway,
    dispute_at_test_gateway,
    win_at_test_gateway,
    lose_at_test_gateway,
]
