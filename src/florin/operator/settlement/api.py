"""API: commissions, balances and statements of what an operator collects for merchants."""

from typing import Annotated
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from florin.identity.authentication import Caller
from florin.identity.request_context import audit_actor, send_position
from florin.kit import ids
from florin.kit.errors import Forbidden, NotFound
from florin.kit.http.body import Page, check_currency
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.http.pagination import After, Limit, Pagination
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.kit.timestamps import parse_instant
from florin.operator.collectors import is_collector, require_collector
from florin.operator.settlement import payouts_api, rates, statement
from florin.operator.settlement.payouts_api import csv_file
from florin.operator.settlement.rates import CommissionRate, CommissionRateRequest
from florin.operator.settlement.statement import SettlementBalance

MerchantFilter = Annotated[
    str | None, Parameter(description="For operators: only of this merchant.")
]
CurrencyFilter = Annotated[
    str | None, Parameter(max_length=3, description="By default the merchant's.")
]
Begin = Annotated[
    str | None, Parameter(query="from", max_length=40, description="RFC 3339, with offset.")
]
End = Annotated[
    str | None, Parameter(query="to", max_length=40, description="RFC 3339, with offset.")
]


def _of(caller: Caller, settings: Settings, merchant: str | None) -> UUID | None:
    """The merchant whose objects the caller reads: its own, or for an operator any; None: all."""
    if not is_collector(settings, caller.merchant):
        wanted = Pagination.only("mer", merchant)
        return caller.merchant if wanted in {None, caller.merchant} else ids.NONE
    return Pagination.only("mer", merchant)


@post("/commission-rates", summary="Set a commission", responses=refusal_responses(Forbidden))
async def set_commission_rate(
    request: AnyRequest,
    caller: Caller,
    db: Database,
    settings: Settings,
    data: CommissionRateRequest,
) -> CommissionRate:
    """What the operator keeps of a merchant's payments from now, or from `valid_from`, on. Payments
    of before keep their rate.
    """
    caller.needs("payouts:write")
    require_collector(settings, caller.merchant)
    made = await rates.set_rate(db, audit_actor(request, caller), data)
    await send_position(request, db)
    return made


@get("/commission-rates", summary="List commissions", responses=refusal_responses())
async def list_commission_rates(
    caller: Caller,
    db: Database,
    settings: Settings,
    limit: Limit = 20,
    starting_after: After = None,
    merchant: MerchantFilter = None,
) -> Page[CommissionRate]:
    """Your own; for operators those of all merchants."""
    caller.needs("reports:read")
    page = await rates.list_rates(
        db,
        of=_of(caller, settings, merchant),
        limit=limit + 1,
        after=Pagination.after("cmr", starting_after),
    )
    return Pagination.of(page, limit)


@get(
    "/commission-rates/{rate:str}",
    summary="Get a commission",
    responses=refusal_responses(NotFound),
)
async def get_commission_rate(
    caller: Caller, db: Database, settings: Settings, rate: str
) -> CommissionRate:
    caller.needs("reports:read")
    return await rates.find_rate(db, rate, of=_of(caller, settings, None))


@get("/settlement-balances", summary="List what is owed", responses=refusal_responses())
async def list_settlement_balances(
    caller: Caller,
    db: Database,
    settings: Settings,
    limit: Limit = 20,
    starting_after: After = None,
    merchant: MerchantFilter = None,
    currency: CurrencyFilter = None,
) -> Page[SettlementBalance]:
    """What the installation's own gateways collected for you and what is still owed to you; for
    operators of all merchants, in the order of their ids. `starting_after` is the id of a merchant.
    """
    caller.needs("reports:read")
    page = await statement.list_balances(
        db,
        of=_of(caller, settings, merchant),
        limit=limit + 1,
        after=Pagination.after("mer", starting_after),
        currency=currency,
    )
    return Pagination.of(page, limit)


@get(
    "/reports/settlement",
    summary="Export a statement",
    media_type="text/csv",
    responses=refusal_responses(NotFound),
)
async def export_statement(
    caller: Caller,
    db: Database,
    settings: Settings,
    begin: Begin = None,
    end: End = None,
    merchant: MerchantFilter = None,
    currency: CurrencyFilter = None,
) -> Response[str]:
    """Every change of what is owed to you, with the balance after it, as a CSV file. Operators name
    the `merchant`.
    """
    caller.needs("reports:read")
    of = _of(caller, settings, merchant) or caller.merchant
    own = await statement.find_currency(db, of)
    if currency is not None:
        check_currency(currency, param="currency")
    content = await statement.write_statement(
        db,
        of,
        currency or own,
        since=None if begin is None else parse_instant(begin, param="from"),
        until=None if end is None else parse_instant(end, param="to"),
    )
    return csv_file(content, "statement.csv")


handlers: list[HTTPRouteHandler] = [
    set_commission_rate,
    list_commission_rates,
    get_commission_rate,
    list_settlement_balances,
    export_statement,
    *payouts_api.handlers,
]
