"""Nouns: the answers of Florin as structs.

Amounts are integers in the minor unit of `currency`. An answer may have more fields than its
struct: `raw` has all of them. States are strings, since a later Florin may have more of them.
"""

from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec

Json = dict[str, Any]
T = TypeVar("T")


class Noun(msgspec.Struct, kw_only=True, dict=True):
    """The base of all answers."""

    @property
    def raw(self) -> Json:
        """The whole object as Florin sent it; only for what a call or a list returned."""
        found: Json = self.__dict__["raw_object"]
        return found


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """A page of a list, newest first."""

    data: list[T]
    has_more: bool


def decode_answer(content: bytes, kind: type[T]) -> T:
    """Decode an answer. Raises msgspec.DecodeError, msgspec.ValidationError."""
    found: Any = msgspec.json.decode(content)
    made = msgspec.convert(found, kind)
    answer: Any = made
    if isinstance(answer, Page):
        pairs = zip(cast("Page[Any]", answer).data, found["data"], strict=True)
    else:
        pairs = zip([answer], [found], strict=True)
    for noun, raw in pairs:
        if isinstance(noun, Noun):
            holder: Any = noun
            holder.__dict__["raw_object"] = raw
    return made


class Named(Noun, kw_only=True):
    """An object with an id."""

    id: str
    created_at: datetime


class Recipient(Noun, kw_only=True):
    name: str | None = None
    email: str | None = None
    phone: str | None = None


class Card(Named, kw_only=True):
    """`code` and `pin`: only in the answer that made them, and its repetitions within a day."""

    program: str
    state: str
    currency: str
    balance: int
    held: int
    available: int
    last4: str
    issued_at: datetime
    expires_at: datetime | None
    metadata: dict[str, str]
    blocked: bool = False
    code: str | None = None
    pin: str | None = None
    reference: str | None = None
    recipient: Recipient | None = None
    delivery: str | None = None
    url: str | None = None


class NoticeSubscription(Noun, kw_only=True):
    about: list[str]


class CardLink(Noun, kw_only=True):
    card: str
    url: str
    revoked: int


class Vat(Noun, kw_only=True):
    """When VAT is due on cards. `rate` is in hundredths of a percent."""

    treatment: str
    country: str | None = None
    rate: int | None = None


class Program(Named, kw_only=True):
    name: str
    currency: str
    min_amount: int
    max_amount: int
    denominations: list[int] | None = None
    expires_after_months: int | None = None
    partial_redemption: bool = True
    pin: bool = False
    reminder_days: list[int] = msgspec.field(default_factory=list[int])
    max_balance: int | None = None
    max_per_payment: int | None = None
    imported_codes: bool = False
    for_sale: bool = True
    code_in_mail: bool = False
    places: list[str] = msgspec.field(default_factory=list[str])
    cash_out_limit: int | None = None
    vat: Vat | None = None
    warnings: list[Json] = msgspec.field(default_factory=list[Json])
    metadata: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Booking(Named, kw_only=True):
    """What money operations have in common."""

    amount: int
    currency: str
    reference: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Redemption(Booking, kw_only=True):
    card: str
    balance: int
    refunded: int = 0
    hold: str | None = None
    location: str | None = None


class Refund(Booking, kw_only=True):
    redemption: str
    card: str
    balance: int
    location: str | None = None


class Hold(Booking, kw_only=True):
    card: str
    state: str
    captured: int
    expires_at: datetime
    redemption: str | None = None
    location: str | None = None


class Load(Booking, kw_only=True):
    card: str
    balance: int


class Transfer(Booking, kw_only=True):
    from_: str = msgspec.field(name="from")
    to: str
    from_balance: int
    to_balance: int


class Adjustment(Booking, kw_only=True):
    card: str
    balance: int
    reason: str


class CashOut(Booking, kw_only=True):
    card: str
    balance: int
    location: str | None = None


class Entry(Booking, kw_only=True):
    card: str
    kind: str
    balance_after: int
    sequence: int
    actor: str
    location: str | None = None
    reason: str | None = None
    source: str | None = None


class BatchItem(Noun, kw_only=True):
    """One item of a batch: `redemption`, or the `problem` by which it was refused."""

    status: int
    redemption: Redemption | None = None
    problem: Json | None = None
    replayed: bool = False


class BatchResult(Noun, kw_only=True):
    data: list[BatchItem]


class LineError(Noun, kw_only=True):
    line: int | None
    detail: str


class Job(Named, kw_only=True):
    kind: str
    state: str
    done: int
    total: int
    codes: str
    errors: list[LineError]
    refused: int = 0
    cancelled: int = 0
    batch: str | None = None
    file: Json | None = None
    program: str | None = None
    amount: int | None = None
    finished_at: datetime | None = None


class Delivery(Named, kw_only=True):
    kind: str
    channel: str
    locale: str
    state: str
    due_at: datetime
    attempts: int
    card: str | None = None
    address: str | None = None
    message: str | None = None
    timezone: str | None = None
    sent_at: datetime | None = None
    repeated: int = 0
    failure: str | None = None


class Suppression(Named, kw_only=True):
    address: str
    reason: str
    delivery: str


class Event(Named, kw_only=True):
    """`data["object"]`: the object as it was then. `sequence`: without gaps for each card."""

    type: str
    sequence: int
    data: Json
    actor: str | None = None


class Merchant(Named, kw_only=True):
    name: str
    country: str
    currency: str
    timezone: str
    test: bool = False
    slug: str | None = None
    second_factor_roles: list[str] = msgspec.field(default_factory=list[str])


class User(Named, kw_only=True):
    email: str
    role: str
    state: str
    email_verified: bool
    second_factor: bool = False


class Me(Noun, kw_only=True):
    actor: str
    scopes: list[str]
    merchant: Merchant
    location: str | None = None
    user: User | None = None


class SignedIn(Noun, kw_only=True):
    access_token: str
    refresh_token: str
    expires_in: int = 900


class Registered(SignedIn, kw_only=True):
    merchant: Merchant
    user: User


class Session(Named, kw_only=True):
    second_factor: bool
    current: bool
    refreshed_at: datetime
    expires_at: datetime
    proved_at: datetime | None = None
    revoked_at: datetime | None = None


class Accepted(Noun, kw_only=True):
    accepted: bool = True


class Enrolment(Noun, kw_only=True):
    secret: str
    uri: str


class RecoveryCodes(Noun, kw_only=True):
    recovery_codes: list[str]


class ApiKey(Named, kw_only=True):
    """`secret`: only in the answer that made it."""

    name: str
    scopes: list[str]
    location: str | None = None
    made_by: str | None = None
    revoked_at: datetime | None = None
    secret: str | None = None


class AuditRecord(Named, kw_only=True):
    actor: str
    action: str
    subject: str
    before: Json | None = None
    after: Json | None = None
    request_id: str | None = None


class Account(Noun, kw_only=True):
    account: str
    balance: int


class Balances(Noun, kw_only=True):
    as_of: str
    currency: str
    liability: int
    accounts: list[Account]


class Proof(Noun, kw_only=True):
    balanced: bool
    cards: int
    entries: int
    open_holds: int
    differences: list[Json]
    checked_at: datetime


class PersonOrder(msgspec.Struct, kw_only=True):
    """An order that the person placed (`buyer`), or of which a card is for it."""

    id: str
    number: int
    state: str
    amount: int
    currency: str
    buyer: bool
    messages: list[str]
    created_at: datetime


class Person(Noun, kw_only=True):
    email: str | None
    cards: list[Card]
    entries: list[Entry]
    complete: bool
    deliveries: list[Delivery] = msgspec.field(default_factory=list[Delivery])
    orders: list[PersonOrder] = msgspec.field(default_factory=list[PersonOrder])
    suppressed: str | None = None
    phone: str | None = None


class Erasure(Noun, kw_only=True):
    cards: int


class Order(Named, kw_only=True):
    number: int
    state: str
    amount: int
    currency: str
    items: list[Json]
    payment: str
    refunded: int = 0
    disputed: bool = False
    buyer: Json | None = None
    reference: str | None = None
    pay_url: str | None = None
    url: str | None = None
    review: str | None = None
    locale: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    paid_at: datetime | None = None
    closed_at: datetime | None = None
    withdrawn_at: datetime | None = None
    withdrawal_until: datetime | None = None
    bulk: bool = False
    vat: list[Json] = msgspec.field(default_factory=list[Json])


class BulkOrderCheck(Noun, kw_only=True):
    cards: int
    amount: int
    currency: str


class OrderRecipient(Named, kw_only=True):
    number: int
    amount: int
    recipient: Recipient | None = None
    message: str | None = None
    card: str | None = None


class CommissionRate(Named, kw_only=True):
    merchant: str
    basis_points: int
    valid_from: datetime


class SettlementBalance(Noun, kw_only=True):
    merchant: str
    name: str
    currency: str
    balance: int
    collected: int = 0
    refunds: int = 0
    disputes: int = 0
    fees: int = 0
    commissions: int = 0
    paid_out: int = 0


class PayoutBatch(Named, kw_only=True):
    currency: str
    until: datetime
    minimum: int
    payouts: int
    amount: int


class Payout(Named, kw_only=True):
    merchant: str
    batch: str
    state: str
    currency: str
    amount: int
    commission: int = 0
    payments: int = 0
    reason: str | None = None
    resolved_at: datetime | None = None


class Payment(Named, kw_only=True):
    order: str
    attempt: int
    gateway: str
    state: str
    amount: int
    currency: str
    received: int = 0
    refunded: int = 0
    fee: int = 0
    fee_currency: str | None = None
    surplus: bool = False
    disputed: bool = False
    failure: str | None = None
    reference: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    paid_at: datetime | None = None


class Gateway(Named, kw_only=True):
    """An account at a payment gateway. Its secrets are never shown."""

    provider: str
    live: bool
    state: str
    webhook_path: str
    takes_webhooks: bool
    account: str | None = None


class GatewayCheck(Noun, kw_only=True):
    """Whether a gateway accepts its key, and whether its webhooks would arrive."""

    ok: bool
    webhook_url: str
    account: str | None = None
    key_problem: str | None = None
    webhook_problem: str | None = None


class PaymentRefund(Named, kw_only=True):
    payment: str
    state: str
    amount: int
    currency: str
    clawed: int = 0
    loss: int = 0
    reason: str | None = None
    failure: str | None = None
    adopted: bool = False
    actor: str | None = None
    resolved_at: datetime | None = None


class Dispute(Named, kw_only=True):
    payment: str
    kind: str
    state: str
    amount: int
    currency: str
    cards: list[str]
    withdrawn: int = 0
    clawed: int = 0
    loss: int = 0
    due_at: datetime | None = None
    resolved_at: datetime | None = None


class GatewayReport(Noun, kw_only=True):
    currency: str
    charges: int
    fees: int
    refunds: int
    disputes: int
    payouts: int
    pending: int
    unexplained: list[Json]


class VatLine(Noun, kw_only=True):
    """A month of cards of one treatment. `net` and `vat`: of single-purpose cards."""

    month: str
    currency: str
    treatment: str
    country: str | None
    rate: int | None
    sold: int
    returned: int
    redeemed: int
    refunded: int
    expired: int
    taxable: int
    net: int | None
    vat: int | None


class VatReport(Noun, kw_only=True):
    from_: datetime = msgspec.field(name="from")
    to: datetime
    lines: list[VatLine]


class HookReceipt(Noun, kw_only=True):
    received: bool


class WebhookEndpoint(Named, kw_only=True):
    """`secret`: only in the answer that made it."""

    url: str
    events: list[str]
    state: str
    description: str | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    previous_secret_until: datetime | None = None
    secret: str | None = None


class WebhookDelivery(Named, kw_only=True):
    endpoint: str
    event: str
    type: str
    state: str
    attempts: int
    tries: list[Json]
    card: str | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None


class TestClock(Noun, kw_only=True):
    __test__ = False  # pytest collects no test from it

    now: datetime
    state: str
    job: str | None = None


class Queue(Noun, kw_only=True):
    name: str
    paused: bool
    waiting: int
    delayed: int
    active: int
    dead: int
