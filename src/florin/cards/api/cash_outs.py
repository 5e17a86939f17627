"""Cash-outs: the route that pays a card out in cash."""

from litestar import Response, post

from florin.cards import requests
from florin.cards.api.end_client import ClientIp, end_client
from florin.cards.api.responses import request_context, respond_posted
from florin.cards.codes import CodeMalformed
from florin.cards.transactions.cash_out import cash_out_card
from florin.cards.transactions.models import CashOut
from florin.cards.transactions.operations import TransactionOperations
from florin.identity.authentication import Caller
from florin.kit.errors import IdempotencyKeyRequired, IdempotencyKeyReused
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.idempotency_key import Key
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.ledger import refusals as no


@post(
    "/cards/{card:str}/cash-outs",
    summary="Pay a card out in cash",
    responses=refusal_responses(
        no.CardNotFound,
        no.CardExpired,
        no.CardBlocked,
        no.CardNotActive,
        no.CardClosed,
        no.CashOutNotAllowed,
        no.InsufficientFunds,
        no.PartialRedemptionNotAllowed,
        no.PinRequired,
        no.PinIncorrect,
        no.PinLocked,
        CodeMalformed,
        IdempotencyKeyRequired,
        IdempotencyKeyReused,
    ),
)
async def cash_out(
    request: AnyRequest,
    caller: Caller,
    transactions: TransactionOperations,
    db: Database,
    proxies: TrustedProxies,
    card: str,
    data: requests.CashOutRequest | None = None,
    key: Key = "",
    client_ip: ClientIp = "",
) -> Response[CashOut]:
    """Pay the small balance that is left on a card to its holder. The highest such balance comes
    from the law of the places where the program is sold, or from its `cash_out_limit` if that is
    more; `cash_out_not_allowed` names it as `limit`. Without the scope `cards:spend-by-id` the code
    of the card is needed, as in a redemption.
    """
    caller.needs("redemptions:write")
    client = end_client(caller, client_ip, request.scope, proxies)
    context = request_context(caller, key, client=client)
    made, posted = await cash_out_card(
        transactions, db, context, card, data or requests.CashOutRequest()
    )
    return respond_posted(request, made, posted)


handlers = [cash_out]
