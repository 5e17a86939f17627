"""Page routes: every URL of the pages, and the scope that a person needs for each."""

from florin.identity.authentication import Caller
from florin.web import account
from florin.web import operator as operator_pages
from florin.web import sign_in as sign_in_pages
from florin.web.console import (
    breakage_report,
    gateway_report,
    location_report,
    organisation,
    overview,
    vat_report,
)
from florin.web.console import card as console_card
from florin.web.console import cards as console_cards
from florin.web.console import clock as console_clock
from florin.web.console import deliveries as console_deliveries
from florin.web.console import gateways as console_gateways
from florin.web.console import jobs as console_jobs
from florin.web.console import logo as console_logo
from florin.web.console import orders as console_orders
from florin.web.console import programs as console_programs
from florin.web.console import reports as console_reports
from florin.web.console import webhooks as console_webhooks
from florin.web.customer import balance, brand, order_changes, storefront, top_up
from florin.web.customer import card as card_page
from florin.web.customer import order as order_page
from florin.web.router import pages_router
from florin.web.till import location as till_location
from florin.web.till import selling, taking, undoing

PUBLIC = "public"  # no credentials required
ANYONE = "anyone"  # any valid credentials
PERSON = "person"  # a signed-in member, for the own account; no API key

pages = pages_router(
    [
        *sign_in_pages.handlers,
        *account.handlers,
        *taking.handlers,
        *undoing.handlers,
        *till_location.handlers,
        *selling.handlers,
        *overview.handlers,
        *console_cards.handlers,
        *console_card.handlers,
        *console_programs.handlers,
        *console_jobs.handlers,
        *console_orders.handlers,
        *console_deliveries.handlers,
        *console_webhooks.handlers,
        *console_clock.handlers,
        *console_reports.handlers,
        *breakage_report.handlers,
        *gateway_report.handlers,
        *location_report.handlers,
        *vat_report.handlers,
        *console_gateways.handlers,
        *organisation.handlers,
        *operator_pages.handlers,
        *console_logo.handlers,
        *brand.handlers,
        *balance.handlers,
        *storefront.handlers,
        *order_page.handlers,
        *order_changes.handlers,
        *card_page.handlers,
        *top_up.handlers,
    ]
)


# The pages, by the scope that a person who signed in needs. What a page does, it does through the
# API, which checks the scope of each action again.
PAGES: dict[str, str] = {
    "GET /sign-in": PUBLIC,
    "POST /sign-in": PUBLIC,
    "GET /sign-in/second": PUBLIC,
    "POST /sign-in/second": PUBLIC,
    "GET /sign-in/again": PERSON,
    "POST /sign-in/again": PERSON,
    "POST /sign-out": PERSON,
    "GET /sign-up": PUBLIC,
    "POST /sign-up": PUBLIC,
    "GET /reset": PUBLIC,
    "POST /reset": PUBLIC,
    "GET /invite/{token}": PUBLIC,
    "POST /invite/{token}": PUBLIC,
    "GET /verify/{token}": PUBLIC,
    "POST /verify/{token}": PUBLIC,
    "GET /brand/{colors}": PUBLIC,
    "GET /brand/{merchant}/{logo}": PUBLIC,
    "GET /balance": PUBLIC,
    "GET /s/{slug}": PUBLIC,
    "GET /s/{slug}/balance": PUBLIC,
    "POST /s/{slug}/balance": PUBLIC,
    "GET /s/{slug}/{program}": PUBLIC,
    "POST /s/{slug}/{program}": PUBLIC,
    "POST /s/{slug}/orders": PUBLIC,
    "GET /o/{token}": PUBLIC,
    "POST /o/{token}/deliveries/{delivery}": PUBLIC,
    "POST /o/{token}/pay": PUBLIC,
    "GET /o/{token}/withdraw": PUBLIC,
    "POST /o/{token}/withdraw": PUBLIC,
    "GET /c/{token}": PUBLIC,
    "GET /c/{token}/till": PUBLIC,
    "GET /c/{token}/qr.svg": PUBLIC,
    "GET /c/{token}/card.pdf": PUBLIC,
    "GET /c/{token}/top-up": PUBLIC,
    "POST /c/{token}/top-up": PUBLIC,
    "GET /account": PERSON,
    "POST /account/password": PERSON,
    "POST /account/notices": PERSON,
    "POST /account/sessions/{session_id}/end": PERSON,
    "POST /account/sign-out-everywhere": PERSON,
    "GET /account/second-factor": PERSON,
    "POST /account/second-factor": PERSON,
    "GET /till": "redemptions:write",
    "GET /till/card": "redemptions:write",
    "POST /till/card": "redemptions:write",
    "GET /till/take": "redemptions:write",
    "POST /till/take": "redemptions:write",
    "GET /till/r/{redemption}": "redemptions:read",
    "GET /till/undo/{redemption}": "redemptions:write",
    "POST /till/undo/{redemption}": "redemptions:write",
    "POST /till/location": "redemptions:write",
    "GET /till/sell": "cards:write",
    "POST /till/sell": "cards:write",
    "GET /till/shift": "redemptions:read",
    "GET /console": PERSON,  # leads a cashier to the till
    "GET /console/cards": "cards:read",
    "GET /console/cards/new": "cards:write",
    "POST /console/cards/new": "cards:write",
    "GET /console/cards/{card}": "cards:read",
    "POST /console/cards/{card}/{action}": "redemptions:write",
    "GET /console/programs": "programs:read",
    "GET /console/programs/new": "programs:write",
    "POST /console/programs/new": "programs:write",
    "GET /console/programs/{program}": "programs:read",
    "POST /console/programs/{program}": "programs:write",
    "GET /console/bulk": "cards:write",
    "POST /console/bulk": "cards:write",
    "GET /console/import": "cards:write",
    "POST /console/import": "cards:write",
    "GET /console/jobs/{job}": "cards:read",
    "POST /console/jobs/{job}/codes": "cards:write",
    "GET /console/orders": "orders:read",
    "GET /console/orders/{order}": "orders:read",
    "POST /console/orders/{order}/{action}": "orders:write",
    "GET /console/disputes": "orders:read",
    "GET /console/deliveries": "deliveries:read",
    "GET /console/deliveries/{delivery}": "deliveries:read",
    "POST /console/deliveries/{delivery}/{action}": "deliveries:write",
    "GET /console/webhooks": "webhooks:read",
    "POST /console/webhooks": "webhooks:write",
    "GET /console/webhooks/{endpoint}": "webhooks:read",
    "POST /console/webhooks/{endpoint}/{action}": "webhooks:write",
    "GET /console/clock": "programs:write",
    "POST /console/clock": "programs:write",
    "GET /console/reports": "reports:read",
    "GET /console/reports/roll-forward.csv": "reports:read",
    "GET /console/reports/breakage": "reports:read",
    "GET /console/reports/breakage.csv": "reports:read",
    "GET /console/reports/liability.csv": "reports:read",
    "GET /console/reports/years.csv": "reports:read",
    "GET /console/reports/gateway": "reports:read",
    "GET /console/reports/locations": "reports:read",
    "GET /console/reports/locations.csv": "reports:read",
    "GET /console/reports/vat": "reports:read",
    "GET /console/reports/vat.csv": "reports:read",
    "GET /console/gateways": "keys:write",
    "GET /console/gateways/new": "keys:write",
    "POST /console/gateways/new": "keys:write",
    "GET /console/gateways/{gateway}": "keys:write",
    "POST /console/gateways/{gateway}/{action}": "keys:write",
    "GET /console/reports/proof": "reports:read",
    "GET /console/members": "members:read",
    "POST /console/members": "members:write",
    "POST /console/members/{member}/{action}": "members:write",
    "GET /console/keys": "keys:write",
    "POST /console/keys": "keys:write",
    "POST /console/keys/{key_id}/revoke": "keys:write",
    "GET /console/audit": "audit:read",
    "GET /console/settings": "members:write",
    "GET /operator": PERSON,  # what is below it says to everyone else that it does not exist
    "GET /operator/installation": PERSON,
    "GET /operator/{rest}": PERSON,
    "POST /console/settings": "members:write",
    "POST /console/settings/logo": "members:write",
}


def require_page_allowed(caller: Caller, name: str) -> None:
    """Raises Forbidden, SecondFactorRequired."""
    if ":" in PAGES[name]:
        caller.needs(PAGES[name])
