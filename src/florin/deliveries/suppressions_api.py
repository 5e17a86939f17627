"""API: the routes that list, read and lift suppressions."""

from typing import Annotated

from litestar import delete, get
from litestar.params import Parameter

from florin.deliveries import suppressions
from florin.deliveries.suppressions import Suppression
from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit.email_address import LENGTH_MAX, normalized
from florin.kit.errors import NotFound
from florin.kit.http.body import Page
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database


@get("/suppressions", summary="List suppressions", responses=refusal_responses())
async def list_suppressions(
    caller: Caller,
    db: Database,
    limit: Limit = 20,
    starting_after: After = None,
    address: Annotated[
        str | None, Parameter(max_length=LENGTH_MAX, description="An e-mail address.")
    ] = None,
) -> Page[Suppression]:
    """The addresses to which no gifts and reminders are sent, newest first."""
    caller.needs("deliveries:read")
    page = await suppressions.list_suppressions(
        db,
        caller.merchant,
        limit=limit + 1,
        after=Pagination.after("sup", starting_after),
        address=normalized(address) if address else None,
    )
    return Pagination.of(page, limit)


@get(
    "/suppressions/{suppression:str}",
    summary="Get a suppression",
    responses=refusal_responses(NotFound),
)
async def get_suppression(caller: Caller, db: Database, suppression: str) -> Suppression:
    caller.needs("deliveries:read")
    return await suppressions.find_suppression(db, caller.merchant, suppression)


@delete(
    "/suppressions/{suppression:str}",
    status_code=200,
    summary="Lift a suppression",
    responses=refusal_responses(NotFound),
)
async def lift_suppression(
    request: AnyRequest, caller: Caller, db: Database, suppression: str
) -> Suppression:
    """Allow mail to the address again, for example once its owner repaired the mailbox or asked for
    it.
    """
    caller.needs("deliveries:write")
    lifted = await suppressions.lift_suppression(db, audit_actor(request, caller), suppression)
    await send_position(request, db)
    return lifted


handlers = [list_suppressions, get_suppression, lift_suppression]
