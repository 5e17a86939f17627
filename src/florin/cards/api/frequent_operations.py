"""Frequent operations: what the most frequent routes do, once for both of their entry points.

A route is entered through `fast_routes.py` (plain ASGI) or through its documented handler in
`cards.py` or `transactions.py` (the framework). Both check the caller's scope and parse the
request; all that follows is here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from florin.cards.api.end_client import end_client
from florin.cards.api.responses import request_context
from florin.cards.card import Card
from florin.cards.lookup import CardLookup
from florin.cards.requests import (
    BATCH_ITEM_MAX,
    BATCH_MAX,
    BatchRedemption,
    BatchRequest,
    LookupRequest,
    RedemptionRequest,
)
from florin.cards.transactions.batch import Item, redeem_items
from florin.cards.transactions.models import Redemption
from florin.cards.transactions.operations import TransactionOperations
from florin.identity.authentication import Caller
from florin.kit.errors import Refusal, TooLarge
from florin.kit.http import body
from florin.kit.http.asgi import Scope
from florin.kit.http.client_address import TrustedProxies
from florin.kit.postgres.database import latest_position

BATCH_BODY_MAX = 1024 * 1024  # bytes
READ_AT_ONCE = 10  # items of a batch; one that is wrong in every field takes a quarter of a ms

_batch = msgspec.json.Decoder(BatchRequest)
_item = msgspec.json.Decoder(BatchRedemption)


class FrequentOperations:
    """Redeem, redeem a batch, and look a card up. `named_client` is the header Florin-Client-Ip, if
    the request has it.
    """

    def __init__(
        self, transactions: TransactionOperations, lookups: CardLookup, proxies: TrustedProxies
    ) -> None:
        self._transactions = transactions
        self._lookups = lookups
        self._proxies = proxies
        self._reading_batch = asyncio.Lock()

    async def redeem(
        self,
        scope: Scope,
        caller: Caller,
        request: RedemptionRequest,
        key: str | None,
        named_client: str | None,
    ) -> tuple[int, Redemption, bool]:
        """Redeem; return the status, the redemption, and whether it is a replay. Writes the
        position and the card into the request's scope.
        """
        client = end_client(caller, named_client, scope, self._proxies)
        context = request_context(caller, key, required=not request.simulate, client=client)
        redemption, posted = await self._transactions.redeem(context, request)
        scope["position"] = posted.position
        scope["touched"] = (redemption.card,)
        return 200 if request.simulate else 201, redemption, posted.replayed

    async def look_up(
        self, scope: Scope, caller: Caller, request: LookupRequest, named_client: str | None
    ) -> Card:
        """Find the card with the code of the request."""
        client = end_client(caller, named_client, scope, self._proxies)
        context = request_context(caller, None, required=False, client=client)
        return await self._lookups.look_up(context, request.code)

    async def redeem_batch(
        self,
        scope: Scope,
        caller: Caller,
        raw_items: Sequence[msgspec.Raw],
        named_client: str | None,
    ) -> dict[str, Any]:
        """Redeem each item; return the document of a BatchResult. Writes the newest position and
        the cards into the request's scope.
        """
        client = end_client(caller, named_client, scope, self._proxies)
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
        return {"object": "list", "data": data, "has_more": False}

    async def _read_items(
        self, caller: Caller, client: tuple[str, bool], raw_items: Sequence[msgspec.Raw]
    ) -> list[Item | Refusal]:
        """Read the items of one batch at a time, and let other requests run in between: without
        that, some batches of wrong items at once would block the event loop for many seconds.
        """
        items: list[Item | Refusal] = []
        async with self._reading_batch:
            for start in range(0, len(raw_items), READ_AT_ONCE):
                part = raw_items[start : start + READ_AT_ONCE]
                items.extend(_read_item(caller, client, bytes(item)) for item in part)
                await asyncio.sleep(0)
        return items


def split_batch(content: bytes) -> list[msgspec.Raw]:
    """The items of a batch's body, undecoded: each fails on its own. Raises InvalidRequest."""
    return body.decode_items(_batch, content, name="redemptions", most=BATCH_MAX)


def _read_item(caller: Caller, client: tuple[str, bool], raw: bytes) -> Item | Refusal:
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
