"""API: the routes for balances and the proof of the ledger."""

from typing import Annotated, Any

from litestar import Request, get
from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.kit.http.body import CURRENCY, check_currency
from florin.kit.openapi.responses import refusal_responses
from florin.kit.replicas.routing import RoutedReader
from florin.kit.timestamps import parse_instant
from florin.reports import export_api, vat_api
from florin.reports.balances import AsOfNotSettled, Balances
from florin.reports.proof import Proof
from florin.reports.report_runner import ReportRunner


@get(
    "/ledger/balances",
    summary="Balances at an instant",
    responses=refusal_responses(AsOfNotSettled),
)
async def get_balances(
    caller: Caller,
    reports: ReportRunner,
    reads: RoutedReader,
    as_of: Annotated[
        str | None, Parameter(description="RFC 3339. Default: the latest settled instant.")
    ] = None,
    currency: Annotated[
        str | None, Parameter(pattern="^[A-Z]{3}$", max_length=3, description=CURRENCY)
    ] = None,
) -> Balances:
    """The balance of every kind of account at an instant. The answer for an instant never changes:
    the request waits, two seconds at most, for transactions that are still running. Debits are
    positive, so all balances add up to zero; `liability` is what the merchant owes on its cards.
    `currency`: the merchant's by default.
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


@get("/ledger/proof", summary="Prove the ledger", responses=refusal_responses())
async def get_proof(
    caller: Caller, request: Request[Any, Any, Any], reports: ReportRunner
) -> Proof:
    """Recompute the ledger from its entries and list every difference. A proof of the last seconds
    may be returned again; `checked_at` is its time. With the header `Florin-Consistency` a new
    proof is made.
    """
    caller.needs("reports:read")
    fresh = "florin-consistency" in request.headers
    return await reports.proof(caller.merchant, fresh=fresh)


handlers = [get_balances, get_proof, *export_api.handlers, *vat_api.handlers]
