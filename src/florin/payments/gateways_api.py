"""API: the addresses to which gateways send webhooks."""

import msgspec
from litestar import Response, post

from florin.kit.errors import NotFound, Overloaded
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.payments.gateway import GatewayUnavailable
from florin.payments.gateway_directory import ConnectedGateway, GatewayDirectory
from florin.payments.gateway_event import WebhookNotAuthentic, receive_event


class HookReceipt(msgspec.Struct, kw_only=True):
    """The answer to a webhook: received, also when it is about nothing of ours."""

    received: bool


@post(
    "/hooks/stripe/{gateway:str}",
    status_code=200,
    summary="Receive a webhook of Stripe",
    responses=refusal_responses(NotFound, WebhookNotAuthentic, public=True),
)
async def receive_stripe_webhook(
    request: AnyRequest, db: Database, gateways: GatewayDirectory, gateway: str
) -> Response[HookReceipt]:
    """For Stripe. `gateway` is `default`, the installation's account, or the id of yours. The
    signature over the raw bytes is checked; any authentic event is answered with 200.
    """
    connected = await _connected(gateways, "stripe", gateway)
    event = await connected.gateway.read_event(await request.body(), request.headers)
    await receive_event(db, connected.id, connected.owner, event)
    return Response(HookReceipt(received=True))


@post(
    "/hooks/paypal/{gateway:str}",
    status_code=200,
    summary="Receive a webhook of PayPal",
    responses=refusal_responses(NotFound, WebhookNotAuthentic, public=True),
)
async def receive_paypal_webhook(
    request: AnyRequest, db: Database, gateways: GatewayDirectory, gateway: str
) -> Response[HookReceipt]:
    """For PayPal. `gateway` is `default`, the installation's account, or the id of yours. PayPal
    verifies the signature of the raw bytes; any authentic event is answered with 200.
    """
    connected = await _connected(gateways, "paypal", gateway)
    try:
        event = await connected.gateway.read_event(await request.body(), request.headers)
    except GatewayUnavailable as error:
        raise Overloaded("PayPal could not be asked whether this is authentic") from error
    await receive_event(db, connected.id, connected.owner, event)
    return Response(HookReceipt(received=True))


async def _connected(gateways: GatewayDirectory, provider: str, name: str) -> ConnectedGateway:
    """Raises NotFound; Overloaded while its secrets cannot be read, so that it is sent again."""
    try:
        return await gateways.hook(provider, name)
    except GatewayUnavailable as error:
        raise Overloaded("The secrets of this gateway cannot be read") from error


handlers = [receive_stripe_webhook, receive_paypal_webhook]
