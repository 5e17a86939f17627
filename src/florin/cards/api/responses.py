"""Responses: the request context and the response that the routes for cards share."""

from typing import Protocol, TypeVar

from litestar import Response

from florin.cards.card import Card
from florin.cards.request_context import RequestContext
from florin.cards.transactions.models import Transfer
from florin.identity.authentication import Caller
from florin.kit.http.asgi import asgi_scope
from florin.kit.http.body import idempotency_key
from florin.kit.http.litestar_adapter import AnyRequest

Answer = TypeVar("Answer")
BY_ID = "cards:spend-by-id"
REPLAYED = {"Idempotency-Replayed": "true"}


class PostOutcome(Protocol):
    """What a response needs of the result of a posting or an issuance."""

    @property
    def position(self) -> str: ...

    @property
    def replayed(self) -> bool: ...


def request_context(
    caller: Caller,
    key: str | None,
    *,
    required: bool = True,
    client: tuple[str, bool] = ("unknown", False),
    named: str = "Idempotency-Key",
) -> RequestContext:
    """Make the context of a request. `key` is from the header, or from the field of a batch item;
    `named` is the name of that header or field. `client`: see end_client.
    """
    checked = idempotency_key(key, required=required, param=named)
    address, client_named = client
    return RequestContext(
        merchant=caller.merchant,
        actor=caller.actor,
        key=checked,
        location=caller.location,
        address=address,
        client_named=client_named,
        spends_by_id=BY_ID in caller.scopes,
    )


def respond(
    request: AnyRequest, content: Answer, *, status: int, position: str, replayed: bool
) -> Response[Answer]:
    scope = asgi_scope(request)
    scope["position"] = position
    scope["touched"] = touched_cards(content)
    return Response(content, status_code=status, headers=REPLAYED if replayed else None)


def respond_posted(
    request: AnyRequest, content: Answer, posted: PostOutcome, *, status: int = 201
) -> Response[Answer]:
    """The response to a request that the ledger posted."""
    return respond(
        request, content, status=status, position=posted.position, replayed=posted.replayed
    )


def touched_cards(content: object) -> list[str]:
    """The ids of the cards that a response describes: later reads of them must see this change."""
    if isinstance(content, Card):
        return [content.id]
    if isinstance(content, Transfer):
        return [content.from_, content.to]
    card: str | None = getattr(content, "card", None)
    return [card] if card is not None else []
