"""Stripe: Checkout Sessions on Stripe's own page, by stripe-python over httpx.

Everything that Stripe is asked is a pure function of the payment's row, under the row's id as the
idempotency key. What it says is always fetched: a session, its payment intent with the latest
charge, the refunds, disputes and early fraud warnings of that intent.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from importlib import import_module
from typing import Any

import msgspec

from florin.payments.gateway import (
    GatewayRefused,
    GatewayUnavailable,
    Opened,
    PaymentRow,
    RefundRow,
    Seen,
    SeenRefund,
)
from florin.payments.gateway_amounts import from_stripe, to_stripe
from florin.payments.gateway_event import GatewayEvent, WebhookNotAuthentic
from florin.payments.gateway_requests import count_gateway_request
from florin.payments.gateways.stripe_objects import (
    EVENTS,
    StripeEvent,
    fees_kept,
    is_fee_pending,
    payment_of_session,
    read_stripe_event,
    seen_dispute,
    seen_refund,
    seen_warning,
    session_parameters,
    unpaid_state,
)

TIMEOUT_S = 20
NETWORK_RETRIES = 2
TOLERANCE_S = 300  # of a webhook's time
PAGE = 100
# The account cannot pay a refund now. Stripe answers the same under a key for a day; then it is
# asked anew, and what it did meanwhile is found by looking.
_LACKS_FUNDS = {"balance_insufficient", "insufficient_funds"}
LIST_MAX, EVENTS_MAX = 1_000, 5_000


class StripeGateway:
    """An account at Stripe."""

    def __init__(self, key: str, *, webhook_secrets: tuple[str, ...], url: str | None) -> None:
        self._key = key
        self._secrets = tuple(each for each in webhook_secrets if each)
        self._url = url
        self.real_money = key.startswith(("sk_live_", "rk_live_"))

    @cached_property
    def _library(self) -> Any:
        return import_module("stripe")

    @cached_property
    def _http(self) -> Any:
        return self._library.HTTPXClient(timeout=TIMEOUT_S, allow_sync_methods=False)

    @cached_property
    def _client(self) -> Any:
        where = {"base_addresses": {"api": self._url}} if self._url is not None else {}
        return self._library.StripeClient(
            self._key,
            http_client=self._http,
            max_network_retries=NETWORK_RETRIES,
            **where,
        )

    async def _connect(self) -> Any:
        """The client. The library takes 30 MB and up to a second to import: only where a gateway is
        used, and in a thread, so that other requests do not wait.
        """
        await asyncio.to_thread(import_module, "stripe")
        return self._client

    async def close(self) -> None:
        """Close its connections, if there are any."""
        if "_http" in vars(self):
            await self._http.close_async()

    def check_amount(self, currency: str, amount: int) -> None:
        """Raises CurrencyNotSupportedByGateway."""
        to_stripe(amount, currency)

    async def open(self, payment: PaymentRow) -> Opened:
        client = await self._connect()
        session = await self._ask(
            client.v1.checkout.sessions.create_async,
            session_parameters(payment),
            {"idempotency_key": payment.id.hex},
        )
        return Opened(reference=session.id, url=session.url)

    async def look(self, payment: PaymentRow) -> Seen:
        if payment.reference is None:
            return Seen(state="open", ours=payment.id, real_money=self.real_money)
        client = await self._connect()
        session = await self._read(
            client.v1.checkout.sessions.retrieve_async,
            payment.reference,
            {"expand": ["payment_intent.latest_charge.balance_transaction"]},
        )
        currency = str(session.currency or "").upper()
        seen = Seen(
            state="open",
            reference=session.id,
            real_money=bool(session.livemode),
            ours=payment_of_session(session),
            amount=from_stripe(session.amount_total or 0, currency),
            currency=currency,
        )
        intent = session.payment_intent
        if session.payment_status != "paid" or intent is None:
            state, failure = unpaid_state(session, intent)
            return msgspec.structs.replace(seen, state=state, failure=failure)
        refunds, disputes, warnings = await asyncio.gather(
            self._list(client.v1.refunds, intent.id),
            self._list(client.v1.disputes, intent.id, "data.balance_transactions"),
            self._list(client.v1.radar.early_fraud_warnings, intent.id),
        )
        fee, fee_currency = fees_kept(intent, disputes, currency)
        return msgspec.structs.replace(
            seen,
            state="paid",
            capture_ref=intent.id,
            fee=fee,
            fee_currency=fee_currency,
            fee_pending=is_fee_pending(intent),
            refunds=tuple(seen_refund(each) for each in refunds),
            disputes=(
                *(seen_dispute(each) for each in disputes),
                *(seen_warning(each, seen.amount) for each in warnings),
            ),
        )

    async def expire(self, payment: PaymentRow) -> None:
        if payment.reference is not None:
            client = await self._connect()
            await self._ask(client.v1.checkout.sessions.expire_async, payment.reference)

    async def refund(self, payment: PaymentRow, refund: RefundRow) -> SeenRefund:
        client = await self._connect()
        made = await self._ask(
            client.v1.refunds.create_async,
            {
                "payment_intent": payment.capture_ref,
                "amount": to_stripe(refund.amount, refund.currency),
                "metadata": {"florin_refund": refund.id.hex},
            },
            {"idempotency_key": refund.id.hex},
        )
        return seen_refund(made)

    async def recent_events(self, since: datetime) -> list[GatewayEvent]:
        """The events since an instant, for webhooks that were lost."""
        params: dict[str, Any] = {
            "created": {"gte": int(since.timestamp())},
            "types": list(EVENTS),
            "limit": PAGE,
        }
        client = await self._connect()
        events = await self._pages(client.v1.events, params, EVENTS_MAX)
        return [read_stripe_event(msgspec.convert(each.to_dict(), StripeEvent)) for each in events]

    async def read_event(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        """Check the signature over the raw bytes; return what the event is about.

        Raises WebhookNotAuthentic.
        """
        await self._connect()
        signature = headers.get("stripe-signature", "")
        for secret in self._secrets:
            try:
                self._library.WebhookSignature.verify_header(
                    body.decode(), signature, secret, TOLERANCE_S
                )
                return read_stripe_event(msgspec.json.decode(body, type=StripeEvent))
            except (self._library.SignatureVerificationError, ValueError, msgspec.MsgspecError):
                continue
        raise WebhookNotAuthentic

    @property
    def takes_webhooks(self) -> bool:
        """Without a secret nothing can be verified, so there is no address for webhooks."""
        return bool(self._secrets)

    async def check(self) -> str:
        """The account's id. Raises GatewayUnavailable."""
        client = await self._connect()
        account = await self._read(client.v1.accounts.retrieve_current_async)
        return str(account.id)

    async def _list(self, service: Any, intent: str, *expand: str) -> list[Any]:
        params: dict[str, Any] = {"payment_intent": intent, "limit": PAGE}
        if expand:
            params["expand"] = list(expand)
        return await self._pages(service, params, LIST_MAX)

    async def _pages(self, service: Any, params: dict[str, Any], most: int) -> list[Any]:
        """All objects of a list, at most `most`. Raises GatewayUnavailable."""
        page = await self._read(service.list_async, params)
        found: list[Any] = list(page.data)
        while page.has_more and len(found) < most:
            page = await self._read(service.list_async, {**params, "starting_after": found[-1].id})
            found += page.data
        return found

    async def _read(self, call: Any, *arguments: Any) -> Any:
        """Ask without changing anything. Raises GatewayUnavailable."""
        try:
            return await self._ask(call, *arguments)
        except GatewayRefused as error:
            raise GatewayUnavailable(str(error)) from error

    async def _ask(self, call: Any, *arguments: Any) -> Any:
        with count_gateway_request("stripe"):
            return await self._send(call, *arguments)

    async def _send(self, call: Any, *arguments: Any) -> Any:
        errors = self._library
        try:
            return await call(*arguments)
        except errors.IdempotencyError as error:  # a request under this key is running
            raise GatewayUnavailable(_reason(error)) from error
        except (errors.InvalidRequestError, errors.CardError) as error:
            if error.http_status in {409, 429} or error.code in _LACKS_FUNDS:
                raise GatewayUnavailable(_reason(error)) from error
            raise GatewayRefused(_reason(error)) from error
        except errors.StripeError as error:
            raise GatewayUnavailable(_reason(error)) from error


def _reason(error: Any) -> str:
    return f"{getattr(error, 'code', None) or type(error).__name__}: {error.user_message or ''}"[
        :500
    ]
