"""Fast routes: the most frequent routes, as plain ASGI callables.

Each parses its request and answers with what `frequent_operations.py` returns, as the documented
handlers in `cards.py` and `transactions.py` do, but without routing, dependency injection and
signature models; docs/decisions/0005-fast-routes.md says what that saves.
"""

from collections.abc import Awaitable, Callable

import msgspec

from florin.cards.api.end_client import HEADER
from florin.cards.api.frequent_operations import BATCH_BODY_MAX, FrequentOperations, split_batch
from florin.cards.requests import LookupRequest, RedemptionRequest
from florin.identity.authentication import Authenticator, Caller
from florin.kit.http import body
from florin.kit.http.asgi import App, Receive, Scope, Send
from florin.kit.http.middleware import header, read_body, send_response
from florin.kit.http.query import refuse_parameters

_redemption = msgspec.json.Decoder(RedemptionRequest)
_lookup = msgspec.json.Decoder(LookupRequest)
_encode = msgspec.json.Encoder().encode
_CLIENT = HEADER.lower().encode()
_REPLAYED = [(b"idempotency-replayed", b"true")]


class FastRoutes:
    """The fast routes and the objects that they need. `count_request` counts one of an actor, and
    raises RateLimited.
    """

    def __init__(
        self,
        access: Authenticator,
        operations: FrequentOperations,
        count_request: Callable[[str], Awaitable[None]],
    ) -> None:
        self._access = access
        self._operations = operations
        self._count_request = count_request

    def by_path(self, base: str) -> dict[tuple[str, str], App]:
        """The routes by method and path; `base` is the path of the API."""
        return {
            ("POST", f"{base}/redemptions"): self.redeem,
            ("POST", f"{base}/redemptions/batch"): self.redeem_batch,
            ("POST", f"{base}/cards/lookup"): self.look_up,
        }

    async def redeem(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/redemptions"""
        caller = await self._caller(scope, "redemptions:write")
        request = body.decode_body(_redemption, await read_body(receive))
        status, redemption, replayed = await self._operations.redeem(
            scope, caller, request, header(scope, b"idempotency-key"), header(scope, _CLIENT)
        )
        headers = _REPLAYED if replayed else None
        await send_response(send, status, _encode(redemption), headers=headers)

    async def look_up(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/cards/lookup"""
        caller = await self._caller(scope, "cards:read")
        request = body.decode_body(_lookup, await read_body(receive))
        card = await self._operations.look_up(scope, caller, request, header(scope, _CLIENT))
        await send_response(send, 200, _encode(card))

    async def redeem_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/redemptions/batch"""
        caller = await self._caller(scope, "redemptions:write")
        items = split_batch(await read_body(receive, most=BATCH_BODY_MAX))
        result = await self._operations.redeem_batch(scope, caller, items, header(scope, _CLIENT))
        await send_response(send, 200, _encode(result))

    async def _caller(self, scope: Scope, needed: str) -> Caller:
        scope["path_template"] = scope["path"]
        authorization = header(scope, b"authorization")
        caller = self._access.cached(authorization) or await self._access.caller(authorization)
        scope["actor"] = caller.actor
        await self._count_request(caller.actor)
        caller.needs(needed)
        refuse_parameters(scope)
        return caller
