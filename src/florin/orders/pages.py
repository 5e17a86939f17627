"""Pages: the payment page of the test gateway.

Plain HTML without scripts. The addresses hold a secret token, so nothing is cached, and no other
site learns them (`Referrer-Policy`). A page with a form sends its origin to its own site only, as
the check of origins needs it.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from html import escape
from typing import Any, get_args
from urllib.parse import parse_qs

from litestar import Response, get, post

from florin.kit.errors import NotFound, Overloaded
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.minor_units import decimal_text
from florin.kit.postgres.database import Database
from florin.orders.services import OrderServices
from florin.payments.gateway import GatewayOff, GatewayUnavailable
from florin.payments.gateways.test import find_test_payment
from florin.payments.gateways.test_payments import Outcome

_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+")
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": f"{_POLICY} 'none'",
    "x-robots-tag": "noindex",
}


@get("/pay/{token:str}", include_in_schema=False)
async def payment_page(db: Database, selling: OrderServices, token: str) -> Response[str]:
    """The payment page of the test gateway."""
    try:
        selling.gateways.require_test()
        row = await find_test_payment(db, token)
    except (NotFound, GatewayOff):
        return _page("Unknown payment", "<p>There is no payment at this address.</p>", status=404)
    amount = f"{decimal_text(row['amount'], row['currency'])} {row['currency']}"
    body = (
        f"<p>{escape(row['name'])}, order {row['number']}: <strong>{amount}</strong></p>"
        "<p>This is a test: no money moves.</p>"
    )
    if row["outcome"] == "paid":
        body += "<p>This payment is paid.</p>"
    else:
        body += '<form method="post">' + "".join(
            f'<p><button name="outcome" value="{value}">{text}</button></p>'
            for value, text in (
                ("paid", "Pay"),
                ("declined", "Decline"),
                ("delayed", "Pay with a delay"),
                ("expired", "Let it expire"),
            )
        )
        body += "</form>"
    # Chrome also refuses to follow a form's redirect to an origin that is not listed.
    back = _ORIGIN.match(row["return_url"])
    headers = {
        "content-security-policy": f"{_POLICY} 'self' {back[0] if back else ''}".rstrip(),
        "referrer-policy": "same-origin",  # with no-referrer, the form would have `Origin: null`
    }
    return _page("Test payment", body, headers=headers)


@post("/pay/{token:str}", include_in_schema=False, status_code=303)
async def decide_payment(request: AnyRequest, selling: OrderServices, token: str) -> Response[str]:
    """The buyer's choice: one form field, `outcome`. Goes back to the seller afterwards."""
    form = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10)
    outcome: Any = form.get("outcome", [""])[0]
    if outcome not in get_args(Outcome):
        choices = ", ".join(get_args(Outcome))
        return _page("Invalid choice", f"<p>outcome must be one of {choices}.</p>", status=422)
    try:
        row = await selling.gateways.decide_test_payment(token, outcome)
    except (NotFound, GatewayOff):
        return _page("Unknown payment", "<p>There is no payment at this address.</p>", status=404)
    # If this look fails, the job that was enqueued with the choice looks again.
    with suppress(GatewayUnavailable, Overloaded):
        await selling.looker.look(row["merchant"], row["payment"])
    return Response("", status_code=303, headers={**_HEADERS, "location": row["return_url"]})


def _page(
    title: str,
    body: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response[str]:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return Response(
        html, status_code=status, media_type="text/html", headers={**_HEADERS, **(headers or {})}
    )


handlers = [payment_page, decide_payment]
