"""Responses: what the routes of cards share: who asks, under which key, and how it is answered."""

from typing import Any, TypeVar

from litestar import Request, Response

from florin.cards.card import Card
from florin.cards.request_context import RequestContext
from florin.cards.transactions.models import Transfer
from florin.identity.authentication import Caller
from florin.kit.http.body import idempotency_key

Answer = TypeVar("Answer")
BY_ID = "cards:spend-by-id"
AnyRequest = Request[Any, Any, Any]


def request_context(
    caller: Caller,
    key: str | None,
    *,
    required: bool = True,
    client: tuple[str, bool] = ("unknown", False),
    named: str = "Idempotency-Key",
) -> RequestContext:
    """Who asks, under a key that is the header's, or a batch item's own field of that name, for
    which `client`: see end_client.
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
    request: AnyRequest, noun: Answer, *, status: int, position: str, replayed: bool
) -> Response[Answer]:
    request.scope["position"] = position  # pyright: ignore[reportGeneralTypeIssues] -- the edge's
    request.scope["touched"] = touched_cards(noun)  # pyright: ignore[reportGeneralTypeIssues] -- too
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(noun, status_code=status, headers=headers)


def touched_cards(noun: object) -> list[str]:
    """The cards that a noun tells of: who asks about them next must see it."""
    if isinstance(noun, Card):
        return [noun.id]
    if isinstance(noun, Transfer):
        return [noun.from_, noun.to]
    card: str | None = getattr(noun, "card", None)
    return [card] if card is not None else []
