"""API: the routes that export and erase what is stored of a person."""

from typing import Annotated

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from florin.cards import people
from florin.cards.people import EraseRequest, Erasure, Person
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.replicas.routing import RoutedReader


@get("/people/export", summary="Export a person", responses=refusal_responses())
async def export_person(
    caller: Caller,
    reads: RoutedReader,
    email: Annotated[
        str | None, Parameter(max_length=255, description="The person's e-mail address.")
    ] = None,
    phone: Annotated[
        str | None,
        Parameter(
            max_length=32,
            description="Instead of it, the number to which cards were sent by SMS.",
        ),
    ] = None,
) -> Person:
    """Everything that is stored of a recipient or a buyer: its cards, their metadata and their
    entries, what was sent to it, and its orders.
    """
    caller.needs("cards:read")
    return await people.export_person(reads, caller.merchant, email, phone)


@post(
    "/people/erase",
    status_code=200,
    summary="Erase a person",
    responses=refusal_responses(),
)
async def erase_person(
    request: AnyRequest, caller: Caller, db: Database, data: EraseRequest
) -> Erasure:
    """Erase a recipient from all cards and a buyer from all orders: name, address, message, number,
    and metadata that has the address. A recipient of a card by SMS is known by the number. It
    cannot be undone. The cards, orders and their money stay,
    as pseudonyms: a code still works.
    """
    caller.needs("cards:write")
    erased = await people.erase_person(db, audit_actor(request, caller), data)
    await send_position(request, db)
    return erased


handlers: list[HTTPRouteHandler] = [export_person, erase_person]
