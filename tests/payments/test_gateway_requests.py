"""The metrics of what gateways are asked, and of attempts to pay."""

import httpx
import pytest

from florin.kit import ids
from florin.kit.observability import metrics
from florin.kit.postgres.database import Database
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateway_event import GatewayEvent, receive_event
from florin.payments.gateway_requests import DECLINED_EVENT
from florin.payments.gateways.paypal import PayPalGateway
from florin.payments.gateways.stripe import StripeGateway
from tests.orders.test_orders import place, settle_by
from tests.support import stripe_server
from tests.support.instance import Shop
from tests.support.ports import free_port


def requests(provider: str) -> tuple[float, float, float]:
    """Answered, refused, unavailable."""
    read = metrics.registry.get_sample_value
    answered, refused, unavailable = (
        read("florin_gateway_requests_total", {"provider": provider, "outcome": outcome}) or 0.0
        for outcome in ("answered", "refused", "unavailable")
    )
    return answered, refused, unavailable


def attempts(provider: str) -> tuple[float, float]:
    """Paid, failed."""
    read = metrics.registry.get_sample_value
    paid, failed = (
        read("florin_payment_attempts_total", {"provider": provider, "outcome": outcome}) or 0.0
        for outcome in ("paid", "failed")
    )
    return paid, failed


async def test_requests_to_stripe_are_counted_by_outcome() -> None:
    with stripe_server.stripe_server() as server:
        answered, refused, unavailable = requests("stripe")
        stripe = StripeGateway(stripe_server.KEY, webhook_secrets=(), url=server.url)
        await stripe.check()
        assert requests("stripe") == (answered + 1, refused, unavailable)
        server.away = True
        with pytest.raises(GatewayUnavailable):
            await stripe.check()
        assert requests("stripe") == (answered + 1, refused, unavailable + 1)
        await stripe.close()


async def test_a_paypal_that_is_away_is_counted() -> None:
    answered, refused, unavailable = requests("paypal")
    url = f"http://127.0.0.1:{free_port()}"
    paypal = PayPalGateway("client", "secret", webhook_id=None, real_money=False, url=url)
    with pytest.raises(GatewayUnavailable):
        await paypal.check()
    await paypal.close()
    assert requests("paypal") == (answered, refused, unavailable + 1)


async def test_an_attempt_to_pay_is_counted_once(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    paid, failed = attempts("test")
    order = await place(http, shop)
    for _ in range(2):
        await settle_by(database, shop, order, state="failed")
    assert attempts("test") == (paid, failed + 1)
    for _ in range(2):
        await settle_by(database, shop, order)
    assert attempts("test") == (paid + 1, failed + 1)


async def test_a_declined_card_is_counted_though_its_payment_stays_open(
    http: httpx.AsyncClient, shop: Shop, database: Database
) -> None:
    order = await place(http, shop)
    payment = ids.require_id("pay", order["payment"])
    paid, failed = attempts("stripe")
    for kind in (DECLINED_EVENT, DECLINED_EVENT, "charge.refunded"):
        event = GatewayEvent(ref=f"evt_{kind}", kind=kind, merchant=shop.merchant, payment=payment)
        await receive_event(database, ids.NONE, None, event)
    assert attempts("stripe") == (paid, failed + 1)
