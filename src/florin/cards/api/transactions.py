"""Transactions: the routes that move money: redeem, refund, load, transfer, adjust and hold."""

from typing import Any, Literal, cast

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec

from florin.cards import requests
from florin.cards.api.end_client import ClientIp, end_client
from florin.cards.api.frequent_operations import BATCH_BODY_MAX, FrequentOperations, split_batch
from florin.cards.api.responses import REPLAYED, request_context, respond_posted
from florin.cards.codes import CodeMalformed
from florin.cards.transactions.models import Adjustment, Hold, Load, Redemption, Refund, Transfer
from florin.cards.transactions.operations import TransactionOperations
from florin.identity.authentication import Caller
from florin.kit.errors import Forbidden, IdempotencyKeyRequired, IdempotencyKeyReused, Refusal
from florin.kit.http.asgi import asgi_scope
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import DECODE, AnyRequest
from florin.kit.openapi.responses import Problem, refusal_responses
from florin.ledger import refusals as no

_STATES: tuple[type[Refusal], ...] = (
    no.CardNotFound,
    no.CardExpired,
    no.CardBlocked,
    no.CardNotActive,
    no.CardClosed,
)
_SPEND: tuple[type[Refusal], ...] = (
    *_STATES,
    no.InsufficientFunds,
    no.CurrencyMismatch,
    no.PaymentLimitExceeded,
    no.PartialRedemptionNotAllowed,
    no.PinRequired,
    no.PinIncorrect,
    no.PinLocked,
    CodeMalformed,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
)


@post(
    "/redemptions",
    summary="Redeem",
    responses={
        **refusal_responses(*_SPEND),
        200: ResponseSpec(Redemption, description="Simulated.", generate_examples=False),
    },
)
async def redeem(
    request: AnyRequest,
    caller: Caller,
    operations: FrequentOperations,
    data: requests.RedemptionRequest,
    key: Key = "",
    client_ip: ClientIp = "",
) -> Response[Redemption]:
    """Spend money from a card, by its code, or by its id with the scope `cards:spend-by-id`. With
    `allow_remainder` less than the requested amount may be spent: `amount` in the response is what
    was spent. With `simulate` nothing is recorded, the response is 200 with an `id` of zeros, and
    no key is needed.
    """
    caller.needs("redemptions:write")
    status, redemption, replayed = await operations.redeem(
        asgi_scope(request), caller, data, key, client_ip
    )
    return Response(redemption, status_code=status, headers=REPLAYED if replayed else None)


class BatchItemResult(msgspec.Struct, kw_only=True):
    """The result of one item: a redemption or a problem, with its own status."""

    status: int
    redemption: Redemption | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET
    replayed: bool | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, kw_only=True):
    """The results of the items, in the order of the request."""

    object: Literal["list"] = "list"
    data: list[BatchItemResult]
    has_more: Literal[False]


def _read_batch(content: bytes) -> requests.BatchBody:
    """A batch whose items are not decoded yet, so that an invalid one does not refuse the rest."""
    return requests.BatchBody(redemptions=cast("Any", split_batch(content)))


@post(
    "/redemptions/batch",
    status_code=200,
    summary="Redeem many",
    request_max_body_size=BATCH_BODY_MAX,
    opt={DECODE: _read_batch},
    responses=refusal_responses(),
)
async def redeem_batch(
    request: AnyRequest,
    caller: Caller,
    operations: FrequentOperations,
    data: requests.BatchBody,
    client_ip: ClientIp = "",
) -> BatchResult:
    """Up to 1000 redemptions, each with its own `idempotency_key`; each succeeds or fails on its
    own. `data` has the results in the same order: `{status, redemption}` or `{status, problem}`.
    """
    caller.needs("redemptions:write")
    raw_items: Any = data.redemptions
    result: Any = await operations.redeem_batch(asgi_scope(request), caller, raw_items, client_ip)
    return result


@post(
    "/refunds",
    summary="Refund a redemption",
    responses=refusal_responses(
        no.RefundExceedsRedemption,
        no.CardClosed,
        no.BalanceLimitExceeded,
        no.RedemptionNotFound,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def refund(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    data: requests.RefundRequest,
    key: Key = "",
) -> Response[Refund]:
    """Return the money of a redemption, or a part of it, to its card. The refunds never add up to
    more than the redemption. A blocked or expired card can be refunded and keeps its state.
    """
    caller.needs("redemptions:write")
    made, posted = await transactions.refund(request_context(caller, key), data)
    return respond_posted(request, made, posted)


@post(
    "/loads",
    summary="Load a card",
    responses=refusal_responses(
        *_STATES,
        no.BalanceLimitExceeded,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def load(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    data: requests.LoadRequest,
    key: Key = "",
) -> Response[Load]:
    """Add money to an active card."""
    caller.needs("cards:write")
    made, posted = await transactions.load(request_context(caller, key), data)
    return respond_posted(request, made, posted)


@post(
    "/transfers",
    summary="Move money between cards",
    responses=refusal_responses(
        no.InsufficientFunds,
        *_STATES,
        no.CurrencyMismatch,
        no.PartialRedemptionNotAllowed,
        no.BalanceLimitExceeded,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def transfer(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    data: requests.TransferRequest,
    key: Key = "",
) -> Response[Transfer]:
    """Move money from one card to another of the same currency. With `from_blocked` an owner
    who is signed in moves the money of a blocked card, for the `reason` in the audit log; the card
    stays blocked.
    """
    caller.needs("cards:write")
    _require_owner(caller, data.from_blocked)
    made, posted = await transactions.transfer(request_context(caller, key), data)
    return respond_posted(request, made, posted)


def _require_owner(caller: Caller, from_blocked: object) -> None:
    """Raises Forbidden if money is taken from a blocked card."""
    if from_blocked is not True:
        return
    caller.signed_in()
    if caller.role != "owner":
        raise Forbidden("only an owner takes money from a blocked card")


@post(
    "/adjustments",
    summary="Adjust a balance",
    responses=refusal_responses(
        no.InsufficientFunds,
        *_STATES,
        no.BalanceLimitExceeded,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def adjust(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    data: requests.AdjustmentRequest,
    key: Key = "",
) -> Response[Adjustment]:
    """Correct a balance by hand, up or down, with a reason. With `from_blocked` an owner who is
    signed in writes money of a blocked card off; the card stays blocked.
    """
    caller.needs("cards:write")
    _require_owner(caller, data.from_blocked)
    made, posted = await transactions.adjust(request_context(caller, key), data)
    return respond_posted(request, made, posted)


@post("/holds", summary="Place a hold", responses=refusal_responses(*_SPEND))
async def place_hold(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    proxies: TrustedProxies,
    data: requests.HoldRequest,
    key: Key = "",
    client_ip: ClientIp = "",
) -> Response[Hold]:
    """Reserve money on a card for `expires_in` seconds. Nothing else can spend it until the hold is
    captured, voided or expires.
    """
    caller.needs("redemptions:write")
    client = end_client(caller, client_ip, request.scope, proxies)
    context = request_context(caller, key, client=client)
    hold, posted = await transactions.hold(context, data)
    return respond_posted(request, hold, posted)


@post(
    "/holds/{hold:str}/capture",
    status_code=200,
    summary="Capture a hold",
    responses=refusal_responses(
        no.HoldNotFound,
        no.HoldNotOpen,
        no.CaptureExceedsHold,
        no.CardBlocked,
        no.PartialRedemptionNotAllowed,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def capture_hold(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    hold: str,
    data: requests.CaptureRequest | None = None,
    key: Key = "",
) -> Response[Hold]:
    """Redeem the held amount, or a part of it; the rest is released. A capture creates a
    redemption, which can be refunded. A hold is captured or voided once.
    """
    caller.needs("redemptions:write")
    captured, posted = await transactions.capture(
        request_context(caller, key), hold, data or requests.CaptureRequest()
    )
    return respond_posted(request, captured, posted, status=200)


@post(
    "/holds/{hold:str}/void",
    status_code=200,
    summary="Void a hold",
    responses=refusal_responses(
        no.HoldNotFound, no.HoldNotOpen, IdempotencyKeyRequired, IdempotencyKeyReused
    ),
)
async def void_hold(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    hold: str,
    data: requests.VoidRequest | None = None,
    key: Key = "",
) -> Response[Hold]:
    """Release the held amount. A hold is captured or voided once."""
    caller.needs("redemptions:write")
    voided, posted = await transactions.void(
        request_context(caller, key), hold, data or requests.VoidRequest()
    )
    return respond_posted(request, voided, posted, status=200)


handlers = [
    redeem,
    redeem_batch,
    refund,
    load,
    transfer,
    adjust,
    place_hold,
    capture_hold,
    void_hold,
]
