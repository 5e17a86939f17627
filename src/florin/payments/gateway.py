"""Gateway: what Florin asks of a payment gateway, and what it learns from it.

What a gateway pushes is only a hint: `look` fetches the gateway's own objects, and `Seen` is
what they say. Amounts are in the minor unit of ISO 4217; each gateway converts to and from its own.
"""

from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from florin.kit.errors import Refusal

PaymentState = Literal["created", "open", "processing", "paid", "failed", "expired"]
Provider = Literal["test", "stripe", "paypal"]


class GatewayUnavailable(Exception):
    """The gateway did not answer, or not usably; whether anything happened there is unknown."""


class GatewayRefused(Exception):
    """The gateway refused definitely: a retry would be refused, too. The message is the reason."""


class GatewayOff(Refusal):
    """This payment gateway is not available."""

    code = "gateway_off"
    status = 422


class CurrencyNotSupportedByGateway(Refusal):
    """The gateway does not support this currency or amount."""

    code = "currency_not_supported_by_gateway"
    status = 422


class PaymentRow(msgspec.Struct, kw_only=True):
    """A payment as a gateway needs it. All parameters at the gateway are made of this row alone, so
    that a repetition under its id is the same request.
    """

    merchant: UUID
    id: UUID
    order: UUID
    order_number: int
    order_stands: bool  # it waits for its payment
    provider: Provider
    gateway: UUID
    state: PaymentState
    currency: str
    amount: int
    received: int
    reference: str | None
    capture_ref: str | None
    email: str | None
    merchant_name: str
    return_url: str
    base_url: str
    expires_at: datetime
    created_at: datetime


class Opened(msgspec.Struct, kw_only=True):
    """What a gateway made for a payment: its object, and the page where the buyer pays."""

    reference: str
    url: str


class SeenRefund(msgspec.Struct, kw_only=True, frozen=True):
    """A refund at the gateway. `ours`: the id of our refund that caused it."""

    ref: str
    amount: int
    state: Literal["pending", "done", "failed"]
    ours: UUID | None = None
    failure: str | None = None


class SeenDispute(msgspec.Struct, kw_only=True, frozen=True):
    """A dispute at the gateway. `withdrawn`: what the gateway holds back because of it now."""

    ref: str
    kind: Literal["inquiry", "chargeback", "warning"]
    state: Literal["open", "won", "lost", "closed"]
    amount: int
    withdrawn: int
    due_at: datetime | None = None


class Seen(msgspec.Struct, kw_only=True, frozen=True):
    """What a gateway says about a payment now. `ours`: the payment that its object names.
    `fee_currency`: of the fee, if the account is settled in another one than the payment's.
    `fee_pending`: the gateway does not know its fee yet.
    """

    state: PaymentState
    reference: str | None = None
    capture_ref: str | None = None
    amount: int = 0
    currency: str = ""
    real_money: bool = True
    ours: UUID | None = None
    failure: str | None = None
    fee: int = 0
    fee_currency: str = ""
    fee_pending: bool = False
    refunds: tuple[SeenRefund, ...] = ()
    disputes: tuple[SeenDispute, ...] = ()


class RefundRow(msgspec.Struct, kw_only=True):
    """A refund as a gateway needs it; its id is the key there."""

    id: UUID
    amount: int
    currency: str
    created_at: datetime


class Gateway(Protocol):
    """A payment gateway. Its methods use the network and hold no transaction. Each of these raises
    GatewayUnavailable; the ones that change something raise GatewayRefused, too.
    """

    @property
    def real_money(self) -> bool:
        """Whether it moves real money."""
        ...

    def check_amount(self, currency: str, amount: int) -> None:
        """Raises CurrencyNotSupportedByGateway."""
        ...

    async def open(self, payment: PaymentRow) -> Opened: ...

    async def look(self, payment: PaymentRow) -> Seen: ...

    async def expire(self, payment: PaymentRow) -> None:
        """Make the page where the buyer pays refuse from now on; already so is no error."""
        ...

    async def refund(self, payment: PaymentRow, refund: RefundRow) -> SeenRefund: ...
