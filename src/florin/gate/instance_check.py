"""Instance check: whether one instance reads and moves money correctly, before it gets requests.

A card is issued, redeemed and refunded at the instance's own address, every amount is compared, and
all of it is reversed. Then its pools and caches are warmed.
"""

import asyncio
from typing import Any

from florin.gate.client import CheckClient, CheckFailed
from florin.gate.merchant import CURRENCY, CheckMerchant

_ISSUED, _REDEEMED, _REFUNDED = 2_000, 750, 250
_BASE = "/api/v1"
_READS = (
    "/cards?limit=1",
    "/entries?limit=1",
    "/redemptions?limit=1",
    "/ledger/balances",
    "/events?limit=1",
)
WARM_CONNECTIONS = 15  # as many as the pool for writes and the one for reads have together
_WARM_TILLS = 5
_WARM_ROUNDS = 2


async def check_instance(client: CheckClient, merchant: CheckMerchant) -> None:
    """Check and warm the instance at the client's address. Raises CheckFailed."""
    health = await client.require("GET", "/health")
    failing = [name for name, ok in health.get("checks", {}).items() if not ok and name != "redis"]
    if failing:
        raise CheckFailed(f"its health check fails: {', '.join(failing)}")
    for path in (*_READS, f"/programs/{merchant.program}"):
        await client.require("GET", f"{_BASE}{path}")
    await _check_money(client, merchant)
    await _warm(client, merchant)


async def _check_money(client: CheckClient, merchant: CheckMerchant) -> None:
    body: dict[str, Any] = {"program": merchant.program, "amount": _ISSUED}
    card = await client.require("POST", f"{_BASE}/cards", body)
    _expect("the balance of a new card", card["balance"], _ISSUED)
    found = await client.require("POST", f"{_BASE}/cards/lookup", {"code": card["code"]})
    _expect("the balance in a look-up", found["balance"], _ISSUED)
    body = {"code": card["code"], "amount": _REDEEMED, "currency": CURRENCY}
    spent = await client.require("POST", f"{_BASE}/redemptions", body)
    _expect("the amount of a redemption", spent["amount"], _REDEEMED)
    _expect("the balance after a redemption", spent["balance"], _ISSUED - _REDEEMED)
    for amount in (_REFUNDED, _REDEEMED - _REFUNDED):
        body = {"redemption": spent["id"], "amount": amount}
        returned = await client.require("POST", f"{_BASE}/refunds", body)
        _expect("the amount of a refund", returned["amount"], amount)
    body = {"card": card["id"], "amount": -_ISSUED, "reason": "deployment check"}
    await client.require("POST", f"{_BASE}/adjustments", body)
    closed = await client.require("POST", f"{_BASE}/cards/{card['id']}/close")
    _expect("the balance of the closed card", closed["balance"], 0)
    await _check_entries(client, card["id"])


async def _check_entries(client: CheckClient, card: str) -> None:
    wanted = sorted([_ISSUED, -_REDEEMED, _REFUNDED, _REDEEMED - _REFUNDED, -_ISSUED])
    seen: list[int] = []
    for _ in range(20):  # a replica may be behind for a moment
        page = await client.require("GET", f"{_BASE}/cards/{card}/entries?limit=100")
        seen = sorted(entry["amount"] for entry in page["data"])
        if len(seen) >= len(wanted):
            break
        await asyncio.sleep(0.1)
    _expect("the entries of the card", seen, wanted)


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise CheckFailed(f"{what} is {seen}, but {wanted} is right")


async def _warm(client: CheckClient, merchant: CheckMerchant) -> None:
    """Open the connections of the pools, and fill caches and the plans of frequent statements.

    Reads and money at once: requests one after another would use the same connection each time,
    and each connection plans its statements by itself.
    """
    cards = await client.require("GET", f"{_BASE}/cards?limit=1")
    one = f"/cards/{cards['data'][0]['id']}" if cards["data"] else "/cards?limit=1"
    paths = (one, "/entries?limit=1", f"/programs/{merchant.program}")
    reads = [paths[number % len(paths)] for number in range(WARM_CONNECTIONS - _WARM_TILLS)]
    for _ in range(_WARM_ROUNDS):
        await asyncio.gather(
            *(_check_money(client, merchant) for _ in range(_WARM_TILLS)),
            *(client.require("GET", f"{_BASE}{path}") for path in reads),
        )
