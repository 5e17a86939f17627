"""Routes: every URL of the product, by slice."""

from litestar import Router

from florin.cards import api as cards
from florin.merchants import api as merchants
from florin.reports import api as reports
from florin.webhooks import api as webhooks

BASE = "/api/v1"

api = Router(
    path=BASE,
    route_handlers=[
        *merchants.handlers,
        *cards.handlers,
        *reports.handlers,
        *webhooks.handlers,
    ],
)
