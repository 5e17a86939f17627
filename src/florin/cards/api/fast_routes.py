"""Fast routes: the most frequent routes, as plain ASGI callables.

They do the same as the documented routes in `cards.py` and `transactions.py`, without routing,
dependency injection and signature models; see docs/decisions for what that saves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from florin.cards.api.end_client import HEADER, end_client
from florin.cards.api.responses import request_context
from florin.cards.lookup import CardLookup
from florin.cards.request_context import RequestContext
from florin.cards.requests import (
    BATCH_ITEM_MAX,
    BATCH_MAX,
    BatchRedemption,
    BatchRequest,
    LookupRequest,
    RedemptionRequest,
)
from florin.cards.transactions.batch import redeem_items
from florin.cards.transactions.operations import TransactionOperations
from florin.identity.authentication import Authenticator, Caller
from florin.kit.errors import Refusal, TooLarge
from florin.kit.http import body
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.middleware import Receive, Scope, Send, header, read_body, send_response
from florin.kit.http.query import refuse_parameters
from florin.kit.postgres.database import latest_position

BATCH_BODY_MAX = 1024 * 1024  # bytes
READ_AT_ONCE = 10  # items of a batch; one that is wrong in every field takes a quarter of a ms

_redemption = msgspec.json.Decoder(RedemptionRequest)
_lookup = msgspec.json.Decoder(LookupRequest)
_batch = msgspec.json.Decoder(BatchRequest)
_item = msgspec.json.Decoder(BatchRedemption)
_encode = msgspec.json.Encoder().encode
_CLIENT = HEADER.lower().encode()
_REPLAYED = [(b"idempotency-replayed", b"true")]


class FastRoutes:
    """The fast routes and the objects that they need."""

    def __init__(
        self,
        access: Authenticator,
        transactions: TransactionOperations,
        lookups: CardLookup,
        proxies: TrustedProxies,
        counted: Callable[[Caller], Awaitable[None]],
    ) -> None:
        self._access = access
        self._transactions = transactions
        self._lookups = lookups
        self._proxies = proxies
        self._counted = counted
        self._reading_batch = asyncio.Lock()

    async def redeem(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/redemptions"""
        scope["path_template"] = scope["path"]
        caller = await self._caller(scope, "redemptions:write")
        request = body.decode_body(_redemption, await read_body(receive))
        key = header(scope, b"idempotency-key")
        client = self._client(scope, caller)
        context = request_context(caller, key, required=not request.simulate, client=client)
        redemption, posted = await self._transactions.redeem(context, request)
        scope["position"] = posted.position
        scope["touched"] = (redemption.card,)
        await send_response(
            send,
            200 if request.simulate else 201,
            _encode(redemption),
            headers=_REPLAYED if posted.replayed else None,
        )

    async def look_up(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/cards/lookup"""
        scope["path_template"] = scope["path"]
        caller = await self._caller(scope, "cards:read")
        request = body.decode_body(_lookup, await read_body(receive))
        client = self._client(scope, caller)
        context = request_context(caller, None, required=False, client=client)
        await send_response(send, 200, _encode(await self._lookups.look_up(context, request.code)))

    async def batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/redemptions/batch"""
        scope["path_template"] = scope["path"]
        caller = await self._caller(scope, "redemptions:write")
        content = await read_body(receive, most=BATCH_BODY_MAX)
        raw_items = body.decode_items(_batch, content, name="redemptions", most=BATCH_MAX)
        client = self._client(scope, caller)
        items = await self._read_items(caller, client, raw_items)
        answers = await redeem_items(
            self._transactions, [item for item in items if isinstance(item, tuple)]
        )
        rest = iter(answers)
        data: list[dict[str, Any]] = []
        positions: list[str] = []
        touched: list[str] = []
        for item in items:
            answer = item if isinstance(item, Refusal) else next(rest)
            if isinstance(answer, Refusal):
                problem = body.problem_document(answer, scope["request_id"])
                data.append({"status": answer.status, "problem": problem})
                continue
            redemption, posted, simulated = answer
            positions.append(posted.position)
            touched.append(redemption.card)
            line: dict[str, Any] = {"status": 200 if simulated else 201, "redemption": redemption}
            if posted.replayed:
                line["replayed"] = True
            data.append(line)
        if positions:
            scope["position"] = latest_position(positions)
            scope["touched"] = touched
        await send_response(send, 200, _encode({"object": "list", "data": data, "has_more": False}))

    async def _read_items(
        self, caller: Caller, client: tuple[str, bool], listed: Sequence[msgspec.Raw]
    ) -> list[tuple[RequestContext, RedemptionRequest] | Refusal]:
        """Read the items of one batch at a time, and let other requests run in between: without
        that, some batches of wrong items at once would block the event loop for many seconds.
        """
        items: list[tuple[RequestContext, RedemptionRequest] | Refusal] = []
        async with self._reading_batch:
            for start in range(0, len(listed), READ_AT_ONCE):
                part = listed[start : start + READ_AT_ONCE]
                items.extend(_read(caller, client, bytes(item)) for item in part)
                await asyncio.sleep(0)
        return items

    def _client(self, scope: Scope, caller: Caller) -> tuple[str, bool]:
        return end_client(caller, header(scope, _CLIENT), scope, self._proxies)

    async def _caller(self, scope: Scope, needed: str) -> Caller:
        authorization = header(scope, b"authorization")
        caller = self._access.cached(authorization) or await self._access.caller(authorization)
        scope["actor"] = caller.actor
        await self._counted(caller)
        caller.needs(needed)
        refuse_parameters(scope)
        return caller


def _read(
    caller: Caller, client: tuple[str, bool], raw: bytes
) -> tuple[RequestContext, RedemptionRequest] | Refusal:
    """Decode one item of a batch; a refusal is returned, as the result of this item alone."""
    try:
        if len(raw) > BATCH_ITEM_MAX:
            raise TooLarge(
                f"this item has {len(raw)} bytes; an item of a batch has at most {BATCH_ITEM_MAX}"
            )
        request = body.decode_body(_item, raw)
        context = request_context(
            caller,
            request.idempotency_key,
            required=not request.simulate,
            client=client,
            named="idempotency_key",
        )
    except Refusal as refusal:
        return refusal
    return context, request
