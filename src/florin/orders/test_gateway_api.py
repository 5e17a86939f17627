"""Test gateway API: the dashboard of the gateway `test`; never in production."""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from litestar import post

from florin.identity.authentication import Caller
from florin.identity.request_context import send_position
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.http.body import Amount, Request
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database, Tx
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


async def _change_at_gateway(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    selling: OrderServices,
    payment: str,
    change: Callable[[Tx, UUID, UUID], Awaitable[None]],
) -> Payment:
    """Carry out `change(tx, merchant, payment)` at the gateway, and let Florin look at it."""
    caller.needs("orders:write")
    selling.gateways.require_test()
    uuid = ids.require_id("pay", payment)
    async with db.transaction() as tx:
        await change(tx, caller.merchant, uuid)
        await enqueue(tx, look_job(caller.merchant, uuid, cause=ids.new_id().hex))
    await selling.looker.look(caller.merchant, uuid)
    await send_position(request, db)
    return await find_payment(db, caller.merchant, ids.show_id("pay", uuid))


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
    amount = data.amount if data is not None else None
    return await _change_at_gateway(
        request, caller, db, selling, payment, partial(add_refund, amount=amount)
    )


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
    return await _change_at_gateway(request, caller, db, selling, payment, add_dispute)


@post(
    "/test-gateway/payments/{payment:str}/win",
    status_code=200,
    summary="Win a dispute at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def win_at_test_gateway(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: str
) -> Payment:
    return await _change_at_gateway(
        request, caller, db, selling, payment, partial(resolve_dispute, state="won")
    )


@post(
    "/test-gateway/payments/{payment:str}/lose",
    status_code=200,
    summary="Lose a dispute at the test gateway",
    responses=refusal_responses(NotFound, GatewayOff, TestPaymentNotPaid),
)
async def lose_at_test_gateway(
    request: AnyRequest, caller: Caller, db: Database, selling: OrderServices, payment: str
) -> Payment:
    return await _change_at_gateway(
        request, caller, db, selling, payment, partial(resolve_dispute, state="lost")
    )


handlers = [
    refund_at_test_gateway,
    dispute_at_test_gateway,
    win_at_test_gateway,
    lose_at_test_gateway,
]
