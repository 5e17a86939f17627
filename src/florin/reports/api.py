"""API: the routes of the books."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from litestar import get
from litestar.params import Parameter

from florin.kit.db import Database
from florin.kit.errors import InvalidRequest
from florin.kit.openapi import responses
from florin.kit.reads import Reads
from florin.merchants.access import Caller
from florin.reports import books
from florin.reports.books import AsOfNotSettled, Balances, Proof

# Beyond microseconds an instant is cut off: later ones would not be told apart in the books.
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?\d*(Z|[ +-]\d{2}:\d{2})", re.ASCII
)


@get("/ledger/balances", summary="Balances at an instant", responses=responses(AsOfNotSettled))
async def get_balances(
    caller: Caller,
    db: Database,
    reads: Reads,
    as_of: Annotated[
        str | None, Parameter(description="RFC 3339; the latest settled instant when left out.")
    ] = None,
    currency: Annotated[
        str | None, Parameter(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217.")
    ] = None,
) -> Balances:
    """What every kind of account stood at. An answer for an instant never changes: money that is
    still moving is waited for, two seconds at most. Debits are positive, so all sum to nothing;
    `liability` is what is owed on cards. In the merchant's currency unless another is named.
    """
    caller.needs("reports:read")
    return await books.balances(
        db,
        reads,
        caller.merchant,
        as_of=None if as_of is None else _instant(as_of),
        currency=currency,
    )


@get("/ledger/proof", summary="Proof of the books", responses=responses())
async def get_proof(caller: Caller, db: Database) -> Proof:
    """Recompute the books from their entries: everything agrees, or what does not is named."""
    caller.needs("reports:read")
    return await books.proof(db, caller.merchant)


def _instant(text: str) -> datetime:
    # A plus sign in a query reads as a space when it was not escaped.
    if match := _INSTANT.fullmatch(text.upper()):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat("".join(match.groups("")).replace(" ", "+")).astimezone(
                UTC
            )
    raise InvalidRequest(
        "give an RFC 3339 instant with its offset, such as 2026-01-31T12:00:00Z", param="as_of"
    )


handlers = [get_balances, get_proof]
