"""API: the routes of the books."""

from typing import Annotated, Any

from litestar import Request, get
from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.kit.http.body import CURRENCY, check_currency
from florin.kit.openapi.responses import refusal_responses
from florin.kit.replicas.routing import RoutedReader
from florin.kit.timestamps import parse_instant
from florin.reports.balances import AsOfNotSettled, Balances
from florin.reports.proof import Proof
from florin.reports.service import Reports


@get(
    "/ledger/balances",
    summary="Balances at an instant",
    responses=refusal_responses(AsOfNotSettled),
)
async def get_balances(
    caller: Caller,
    reports: Reports,
    reads: RoutedReader,
    as_of: Annotated[
        str | None, Parameter(description="RFC 3339; the latest settled instant when left out.")
    ] = None,
    currency: Annotated[
        str | None, Parameter(pattern="^[A-Z]{3}$", max_length=3, description=CURRENCY)
    ] = None,
) -> Balances:
    """What every kind of account stood at. An answer for an instant never changes: money that is
    still moving is waited for, two seconds at most. Debits are positive, so all sum to nothing;
    `liability` is what is owed on cards. In the merchant's currency unless another is named.
    """
    caller.needs("reports:read")
    if currency is not None:
        check_currency(currency, param="currency")
    return await reports.balances(
        reads,
        caller.merchant,
        as_of=None if as_of is None else parse_instant(as_of, param="as_of"),
        currency=currency,
    )


@get("/ledger/proof", summary="Proof of the books", responses=refusal_responses())
async def get_proof(caller: Caller, request: Request[Any, Any, Any], reports: Reports) -> Proof:
    """Recompute the books from their entries: everything agrees, or what does not is named. The
    proof of the last seconds may be given again: `checked_at` is its time. With the header
    `Florin-Consistency` it is made anew.
    """
    caller.needs("reports:read")
    fresh = "florin-consistency" in request.headers
    return await reports.proof(caller.merchant, fresh=fresh)


handlers = [get_balances, get_proof]
