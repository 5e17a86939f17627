"""PayPal: Orders v2 by httpx. The buyer approves on PayPal's page; Florin captures.

An approved order is not paid: `look` captures it, under a key of the payment, while the order waits
for its payment. A page that the buyer left open can thus never take money for an order that does
not stand. PayPal keeps keys for hours only, so an order is always fetched first.

Webhooks are verified by PayPal itself (`verify-webhook-signature`): its signature covers only a
CRC-32 of the body, and the body decides nothing anyway.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec

from florin.kit.observability import logging
from florin.payments.gateway import (
    GatewayRefused,
    GatewayUnavailable,
    Opened,
    PaymentRow,
    RefundRow,
    Seen,
    SeenRefund,
)
from florin.payments.gateway_amounts import to_paypal
from florin.payments.gateway_event import GatewayEvent, WebhookNotAuthentic
from florin.payments.gateways.paypal_connection import PayPalConnection
from florin.payments.gateways.paypal_objects import (
    SIGNED_HEADERS,
    Json,
    captured_money,
    captured_state,
    first_capture,
    money,
    order_parameters,
    read_paypal_event,
    seen_refund,
)

LIVE, SANDBOX = "https://api-m.paypal.com", "https://api-m.sandbox.paypal.com"
DISPUTES = "/v1/customer/disputes"
EVENTS_MAX = 300  # PayPal lists at most so many at once
_SHORTEST = timedelta(seconds=2)  # its instants have whole seconds
_AHEAD = timedelta(minutes=5)  # by which its clock may be ahead
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_log = logging.get_logger()
# What became of a capture by another request, or is settled by the buyer on PayPal's page.
_LOOK_AGAIN = {"ORDER_ALREADY_CAPTURED", "ORDER_COMPLETION_IN_PROGRESS"}
_BUYER_ACTS = {"INSTRUMENT_DECLINED", "PAYER_ACTION_REQUIRED", "ORDER_NOT_APPROVED"}


class PayPalGateway:
    """An account at PayPal."""

    def __init__(
        self,
        client_id: str,
        secret: str,
        *,
        webhook_id: str | None,
        real_money: bool,
        url: str | None,
    ) -> None:
        self._client_id = client_id
        self._webhook_id = webhook_id
        self.real_money = real_money
        address = url or (LIVE if real_money else SANDBOX)
        self._paypal = PayPalConnection(client_id, secret, address)

    async def close(self) -> None:
        """Close its connections."""
        await self._paypal.close()

    def check_amount(self, currency: str, amount: int) -> None:
        """Raises CurrencyNotSupportedByGateway."""
        to_paypal(amount, currency)

    async def open(self, payment: PaymentRow) -> Opened:
        order = await self._paypal.ask(
            "POST", "/v2/checkout/orders", json=order_parameters(payment), key=payment.id.hex
        )
        url = next(
            (each["href"] for each in order["links"] if each["rel"] in {"payer-action", "approve"}),
            None,
        )
        if url is None:
            raise GatewayUnavailable("PayPal named no page to approve the order")
        return Opened(reference=order["id"], url=url)

    async def look(self, payment: PaymentRow) -> Seen:
        seen = Seen(
            state="open", reference=payment.reference, ours=payment.id, real_money=self.real_money
        )
        if payment.reference is None:
            return seen
        path = f"/v2/checkout/orders/{quote(payment.reference, safe='')}"
        try:
            order = await self._paypal.ask("GET", path)
        except GatewayRefused as error:
            if payment.state == "paid":
                raise GatewayUnavailable(str(error)) from error
            # PayPal forgets an order that was not approved for hours.
            return msgspec.structs.replace(seen, state="expired")
        failure = None
        if order["status"] == "APPROVED" and payment.order_stands:
            try:
                order = await self._paypal.ask(
                    "POST", f"{path}/capture", json={}, key=f"{payment.id.hex}-capture"
                )
            except GatewayRefused as error:
                failure = str(error).partition(":")[0]
                if failure not in _LOOK_AGAIN | _BUYER_ACTS:
                    return msgspec.structs.replace(seen, state="failed", failure=failure.lower())
            order = await self._paypal.read(path)  # with everything that the order has now
        capture = first_capture(order)
        if capture is None:
            ended = order["status"] == "VOIDED" or not payment.order_stands
            return msgspec.structs.replace(seen, state="expired" if ended else "open")
        return await self._captured(seen, order, capture)

    async def _captured(self, seen: Seen, order: Json, capture: Json) -> Seen:
        state, noted = captured_state(seen, capture)
        if state != "paid":
            return noted
        found = await self._paypal.read(DISPUTES, params={"disputed_transaction_id": capture["id"]})
        # The list has summaries: how a dispute ended is said by the dispute itself alone.
        disputes = [
            await self._paypal.read(f"{DISPUTES}/{quote(str(each['dispute_id']), safe='')}")
            for each in found.get("items") or ()
        ]
        return captured_money(seen, order, capture, disputes)

    async def expire(self, payment: PaymentRow) -> None:
        """Nothing to do: without a capture by Florin an order takes no money."""

    async def refund(self, payment: PaymentRow, refund: RefundRow) -> SeenRefund:
        made = await self._paypal.ask(
            "POST",
            f"/v2/payments/captures/{quote(payment.capture_ref or '', safe='')}/refund",
            json={"amount": money(refund.amount, refund.currency), "custom_id": refund.id.hex},
            key=refund.id.hex,
        )
        if "amount" not in made:  # the short form of the answer
            made = await self._paypal.ask(
                "GET", f"/v2/payments/refunds/{quote(made['id'], safe='')}"
            )
        return seen_refund(made)

    @property
    def takes_webhooks(self) -> bool:
        """Without the webhook's id nothing can be verified."""
        return bool(self._webhook_id)

    async def read_event(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        """Have PayPal verify the raw body; return what the event is about.

        Raises WebhookNotAuthentic, GatewayUnavailable.
        """
        named = {field: headers.get(header) for field, header in SIGNED_HEADERS.items()}
        try:
            event = msgspec.json.decode(body, type=Json)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise WebhookNotAuthentic from None
        if None in named.values() or not self._webhook_id:
            raise WebhookNotAuthentic
        question = {**named, "webhook_id": self._webhook_id, "webhook_event": msgspec.Raw(body)}
        try:
            answer = await self._paypal.ask(
                "POST",
                "/v1/notifications/verify-webhook-signature",
                content=msgspec.json.encode(question),
            )
        except GatewayRefused:
            raise WebhookNotAuthentic from None
        if answer.get("verification_status") != "SUCCESS":
            raise WebhookNotAuthentic
        return read_paypal_event(event)

    async def recent_events(self, since: datetime) -> list[GatewayEvent]:
        """The events since an instant, for webhooks that were lost."""
        return list((await self._events(since, datetime.now(UTC) + _AHEAD)).values())

    async def _events(self, since: datetime, until: datetime) -> dict[str, GatewayEvent]:
        """The events of a time window by id. PayPal lists at most EVENTS_MAX at once: a window that
        has more is read in halves, down to seconds.
        """
        question = {
            "start_time": since.strftime(_INSTANT),
            "end_time": until.strftime(_INSTANT),
            "page_size": str(EVENTS_MAX),
        }
        answer = await self._paypal.read("/v1/notifications/webhooks-events", params=question)
        found = [read_paypal_event(each) for each in answer.get("events") or ()]
        is_short = until - since < _SHORTEST
        if is_short and len(found) == EVENTS_MAX:
            _log.warning("more events in a second than PayPal lists", since=since.isoformat())
        if len(found) < EVENTS_MAX or is_short:
            return {each.ref: each for each in found}
        middle = since + (until - since) / 2
        return {**await self._events(since, middle), **await self._events(middle, until)}

    async def check(self) -> str:
        """The client's id, once PayPal accepts its secret. Raises GatewayUnavailable."""
        await self._paypal.authenticate()
        return self._client_id
