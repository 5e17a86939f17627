"""Routes: every URL of the API, by slice, and the scope that each needs.

An instance with a route that is missing from NEEDS does not start, so no route goes without an
authorization rule.
"""

from typing import Any

from litestar import Router

from florin.cards.api import cards
from florin.cards.api import deliveries as card_deliveries
from florin.deliveries import api as deliveries
from florin.deliveries import hooks_api as delivery_hooks
from florin.deliveries import suppressions_api as suppressions
from florin.deliveries.notices import api as notices
from florin.events import api as events
from florin.identity.api import api_keys, members, profile, sign_in
from florin.identity.authentication import Caller
from florin.merchants import api as merchants
from florin.operator import queues
from florin.operator.settlement import api as settlement
from florin.orders import api as orders
from florin.orders import pages as order_pages
from florin.orders import test_gateway_api
from florin.orders.bulk import api as bulk_orders
from florin.payments import api as payments
from florin.payments import gateway_accounts_api as gateway_accounts
from florin.payments import gateways_api as gateways
from florin.reports import api as reports
from florin.test_clock import api as test_clock
from florin.web.page_routes import ANYONE, PERSON, PUBLIC
from florin.webhooks import api as webhooks
from florin.webhooks import deliveries_api as webhook_deliveries

BASE = "/api/v1"

api = Router(
    path=BASE,
    route_handlers=[
        *merchants.handlers,
        *sign_in.handlers,
        *profile.handlers,
        *members.handlers,
        *api_keys.handlers,
        *cards.handlers,
        *card_deliveries.handlers,
        *deliveries.handlers,
        *delivery_hooks.handlers,
        *suppressions.handlers,
        *notices.handlers,
        *reports.handlers,
        *queues.handlers,
        *settlement.handlers,
        *events.handlers,
        *webhooks.handlers,
        *orders.handlers,
        *bulk_orders.handlers,
        *payments.handlers,
        *gateways.handlers,
        *gateway_accounts.handlers,
        *test_gateway_api.handlers,
        *webhook_deliveries.handlers,
        *test_clock.handlers,
    ],
)

# Pages: outside of the API, without credentials; their addresses hold a token.
pages = Router(path="/", route_handlers=[*order_pages.handlers])


NEEDS: dict[str, str] = {
    "POST /auth/register": PUBLIC,
    "POST /auth/login": PUBLIC,
    "POST /auth/refresh": PUBLIC,
    "POST /auth/mfa": PUBLIC,
    "POST /auth/reauthentication": PERSON,
    "POST /auth/logout": PERSON,
    "GET /auth/me": ANYONE,
    "POST /auth/password": PERSON,
    "GET /auth/notices": PERSON,
    "PATCH /auth/notices": PERSON,
    "POST /auth/password-resets": PUBLIC,
    "POST /auth/password-resets/confirm": PUBLIC,
    "POST /auth/invitations/accept": PUBLIC,
    "POST /auth/email-verifications": PUBLIC,
    "POST /auth/email-verifications/confirm": PUBLIC,
    "POST /auth/totp": PERSON,
    "POST /auth/totp/confirm": PERSON,
    "POST /auth/totp/recovery-codes": PERSON,
    "POST /auth/totp/disable": PERSON,
    "GET /sessions": PERSON,
    "GET /sessions/{session_id}": PERSON,
    "DELETE /sessions/{session_id}": PERSON,
    "POST /members": "members:write",
    "GET /members": "members:read",
    "GET /members/{member_id}": "members:read",
    "PATCH /members/{member_id}": "members:write",
    "DELETE /members/{member_id}": "members:write",
    "POST /members/{member_id}/reset-second-factor": "members:write",
    "GET /merchant": ANYONE,
    "PATCH /merchant": "members:write",
    "GET /audit": "audit:read",
    "GET /audit/{record_id}": "audit:read",
    "POST /api-keys": "keys:write",
    "GET /api-keys": "keys:write",
    "GET /api-keys/{key_id}": "keys:write",
    "DELETE /api-keys/{key_id}": "keys:write",
    "POST /programs": "programs:write",
    "GET /programs": "programs:read",
    "GET /programs/{program_id}": "programs:read",
    "PATCH /programs/{program_id}": "programs:write",
    "POST /cards": "cards:write",
    "GET /cards": "cards:read",
    "GET /cards/{card}": "cards:read",
    "PATCH /cards/{card}": "cards:write",
    "POST /cards/{card}/extend": "cards:write",
    "GET /cards/{card}/entries": "cards:read",
    "POST /cards/lookup": "cards:read",
    "POST /cards/bulk": "cards:write",
    "POST /cards/import": "cards:write",
    "GET /jobs": "cards:read",
    "GET /jobs/{job}": "cards:read",
    "POST /jobs/{job}/codes": "cards:write",
    "POST /jobs/{job}/sheet.pdf": "cards:write",
    "POST /jobs/{job}/activate": "cards:write",
    "POST /jobs/{job}/block": "cards:write",
    "POST /jobs/{job}/extend": "cards:write",
    "POST /jobs/{job}/close": "cards:write",
    "POST /jobs/{job}/cancel": "cards:write",
    "GET /queues": "queues:read",
    "POST /cards/{card}/rotate-code": "cards:write",
    "POST /cards/{card}/link": "deliveries:write",
    "GET /cards/{card}/voucher.pdf": "cards:write",
    "GET /deliveries": "deliveries:read",
    "GET /deliveries/{delivery}": "deliveries:read",
    "PATCH /deliveries/{delivery}": "deliveries:write",
    "POST /deliveries/{delivery}/cancel": "deliveries:write",
    "POST /deliveries/{delivery}/resend": "deliveries:write",
    "GET /suppressions": "deliveries:read",
    "GET /suppressions/{suppression}": "deliveries:read",
    "DELETE /suppressions/{suppression}": "deliveries:write",
    "POST /cards/{card}/reset-pin": "cards:write",
    "POST /cards/{card}/activate": "cards:write",
    "POST /cards/{card}/block": "cards:write",
    "POST /cards/{card}/unblock": "cards:write",
    "POST /cards/{card}/close": "cards:write",
    "POST /cards/{card}/reinstate": "cards:write",
    "GET /people/export": "cards:read",
    "POST /people/erase": "cards:write",
    "GET /redemptions": "redemptions:read",
    "GET /redemptions/{noun_id}": "redemptions:read",
    "POST /redemptions": "redemptions:write",
    "POST /redemptions/batch": "redemptions:write",
    "GET /refunds": "redemptions:read",
    "GET /refunds/{noun_id}": "redemptions:read",
    "POST /refunds": "redemptions:write",
    "GET /loads": "cards:read",
    "GET /loads/{noun_id}": "cards:read",
    "POST /loads": "cards:write",
    "GET /transfers": "cards:read",
    "GET /transfers/{noun_id}": "cards:read",
    "POST /transfers": "cards:write",
    "GET /adjustments": "cards:read",
    "GET /adjustments/{noun_id}": "cards:read",
    "POST /adjustments": "cards:write",
    "POST /cards/{card}/cash-outs": "redemptions:write",
    "GET /cash-outs": "redemptions:read",
    "GET /cash-outs/{noun_id}": "redemptions:read",
    "GET /holds": "redemptions:read",
    "GET /holds/{hold}": "redemptions:read",
    "POST /holds": "redemptions:write",
    "POST /holds/{hold}/capture": "redemptions:write",
    "POST /holds/{hold}/void": "redemptions:write",
    "GET /entries": "cards:read",
    "GET /entries/{entry}": "cards:read",
    "GET /cards/export": "cards:read",
    "GET /entries/export": "cards:read",
    "GET /reports/journal": "reports:read",
    "GET /reports/vat": "reports:read",
    "GET /reports/vat/export": "reports:read",
    "GET /reports/settlement": "reports:read",
    "POST /commission-rates": "payouts:write",
    "GET /commission-rates": "reports:read",
    "GET /commission-rates/{rate}": "reports:read",
    "GET /settlement-balances": "reports:read",
    "POST /payout-batches": "payouts:write",
    "GET /payout-batches": "reports:read",
    "GET /payout-batches/{batch}": "reports:read",
    "GET /payout-batches/{batch}/file": "reports:read",
    "GET /payouts": "reports:read",
    "GET /payouts/{payout}": "reports:read",
    "POST /payouts/{payout}/confirm": "payouts:write",
    "POST /payouts/{payout}/fail": "payouts:write",
    "GET /ledger/balances": "reports:read",
    "GET /ledger/proof": "reports:read",
    "GET /events": "events:read",
    "GET /events/stream": "events:read",
    "GET /events/{event_id}": "events:read",
    "POST /orders": "orders:write",
    "POST /orders/bulk": "orders:write",
    "POST /orders/bulk/check": "orders:read",
    "GET /orders/{order}/recipients": "orders:read",
    "GET /orders": "orders:read",
    "GET /orders/{order}": "orders:read",
    "POST /orders/{order}/cancel": "orders:write",
    "POST /orders/{order}/retry": "orders:write",
    "POST /orders/{order}/refunds": "orders:write",
    "POST /orders/{order}/withdraw": "orders:write",
    "GET /payments": "orders:read",
    "GET /payments/{payment}": "orders:read",
    "GET /payment-refunds": "orders:read",
    "GET /payment-refunds/{payment_refund}": "orders:read",
    "GET /disputes": "orders:read",
    "GET /reports/gateway": "reports:read",
    "GET /disputes/{dispute}": "orders:read",
    "POST /gateways": "keys:write",
    "GET /gateways": "keys:write",
    "GET /gateways/{gateway}": "keys:write",
    "PATCH /gateways/{gateway}": "keys:write",
    "DELETE /gateways/{gateway}": "keys:write",
    "POST /gateways/{gateway}/test": "keys:write",
    "POST /hooks/stripe/{gateway}": PUBLIC,
    "POST /hooks/paypal/{gateway}": PUBLIC,
    "POST /hooks/mail": PUBLIC,
    "POST /hooks/twilio/{merchant}/{delivery}/{generation}": PUBLIC,
    "POST /test-gateway/payments/{payment}/refund": "orders:write",
    "POST /test-gateway/payments/{payment}/dispute": "orders:write",
    "POST /test-gateway/payments/{payment}/win": "orders:write",
    "POST /test-gateway/payments/{payment}/lose": "orders:write",
    "GET /test-clock": ANYONE,
    "POST /test-clock/advance": "programs:write",
    "POST /webhook-endpoints": "webhooks:write",
    "GET /webhook-endpoints": "webhooks:read",
    "GET /webhook-endpoints/{endpoint_id}": "webhooks:read",
    "PATCH /webhook-endpoints/{endpoint_id}": "webhooks:write",
    "DELETE /webhook-endpoints/{endpoint_id}": "webhooks:write",
    "POST /webhook-endpoints/{endpoint_id}/rotate-secret": "webhooks:write",
    "POST /webhook-endpoints/{endpoint_id}/replay": "webhooks:write",
    "GET /webhook-endpoints/{endpoint_id}/deliveries": "webhooks:read",
    "GET /webhook-deliveries": "webhooks:read",
    "GET /webhook-deliveries/{delivery_id}": "webhooks:read",
    "POST /webhook-deliveries/{delivery_id}/resend": "webhooks:write",
}

# Only a signed-in member who authenticated recently grants or revokes rights, with any scopes an
# API key has: neither a stolen key nor a stolen access token is enough.
PEOPLE_ONLY: frozenset[str] = frozenset(
    {
        "POST /members",
        "PATCH /members/{member_id}",
        "DELETE /members/{member_id}",
        "POST /members/{member_id}/reset-second-factor",
        "PATCH /merchant",
    }
)
# An API key may also create and revoke keys whose scopes do not exceed its own, and connect
# gateways.
FRESH_PROOF: frozenset[str] = PEOPLE_ONLY | {
    "POST /api-keys",
    "DELETE /api-keys/{key_id}",
    "POST /gateways",
    "PATCH /gateways/{gateway}",
    "DELETE /gateways/{gateway}",
    "POST /gateways/{gateway}/test",
}


# Routes with lasting cost, closed to accounts registered with an invented e-mail address.
VERIFIED_EMAIL: frozenset[str] = frozenset(
    {
        "POST /cards/bulk",
        "POST /cards/import",
        "POST /api-keys",
        "GET /events/stream",
        "POST /webhook-endpoints",
        "POST /gateways",
    }
)


def require_allowed(caller: Caller, name: str) -> None:
    """Raises Forbidden, SecondFactorRequired, EmailNotVerified, ReauthenticationRequired."""
    if ":" in NEEDS[name]:
        caller.needs(NEEDS[name])
    if name in VERIFIED_EMAIL:
        caller.needs_verified_email()
    if name in PEOPLE_ONLY:
        caller.signed_in()
    if name in FRESH_PROOF:
        caller.needs_fresh_proof()


def writes(scope: Any) -> bool:
    """Whether the request of an ASGI scope is for a route that may change something."""
    path = scope.get("path_template") or scope["path"]
    need = NEEDS.get(f"{scope['method']} {path.removeprefix(BASE)}", ":read")
    return scope["method"] != "GET" and not need.endswith(":read")


def reads_only(scope: Any) -> bool:
    """Whether the request of an ASGI scope only reads: GET, HEAD, or a POST such as a look-up."""
    need = NEEDS.get(f"{scope['method']} {scope['path'].removeprefix(BASE)}", "")
    return scope["method"] in {"GET", "HEAD"} or need.endswith(":read")
