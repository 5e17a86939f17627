"""API: the routes of the books."""

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from msgspec import Meta

from florin.kit.db import Database
from florin.kit.errors import InvalidRequest
from florin.kit.openapi import responses
from florin.merchants.access import Caller
from florin.reports import books
from florin.reports.books import AsOfNotSettled, Balances, Proof


@get("/ledger/balances", summary="Balances at an instant", responses=responses(AsOfNotSettled))
async def get_balances(
    caller: Caller,
    db: Database,
    as_of: Annotated[
        str | None, Parameter(description="RFC 3339; the latest settled instant when left out.")
    ] = None,
    currency: Annotated[str | None, Meta(pattern="^[A-Z]{3}$", max_length=3)] = None,
) -> Balances:
    """What every kind of account stood at. An answer for an instant never changes: money that is
    still moving is waited for, two seconds at most. Debits are positive, so all sum to nothing;
    `liability` is what is owed on cards. In the merchant's currency unless another is named.
    """
    caller.needs("reports:read")
    return await books.balances(
        db, caller.merchant, as_of=None if as_of is None else _instant(as_of), currency=currency
    )


@get("/ledger/proof", summary="Proof of the books", responses=responses())
async def get_proof(caller: Caller, db: Database) -> Proof:
    """Recompute the books from their entries: everything agrees, or what does not is named."""
    caller.needs("reports:read")
    return await books.proof(db, caller.merchant)


def _instant(text: str) -> datetime:
    try:
        # A plus sign in a query reads as a space when it was not escaped.
        instant = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise InvalidRequest(f"{text} is no RFC 3339 instant", param="as_of") from None
    if instant.tzinfo is None:
        raise InvalidRequest("an instant names its offset, such as Z", param="as_of")
    return instant


handlers = [get_balances, get_proof]
