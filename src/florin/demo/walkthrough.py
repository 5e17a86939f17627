"""Walkthrough: sell, redeem, hold and refund a card on the running fleet, over HTTP.

Uses only the public API: an address and an API key.
"""

import json
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx


class DemoFailed(Exception):
    """The demo failed; the message is one sentence for the operator."""


@dataclass(slots=True)
class DemoShop:
    """The API client of the demo merchant."""

    client: httpx.Client

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
        document: dict[str, Any] = answer.json()
        if answer.status_code >= 500:  # noqa: PLR2004 -- a server error
            raise DemoFailed(f"{path} answered {answer.status_code}: {document.get('detail')}")
        return document

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.client.get(path, params=query)
        if answer.status_code != 200:  # noqa: PLR2004
            raise DemoFailed(f"{path} answered {answer.status_code}: {answer.text}")
        return answer.json()


def run_walkthrough(*, base: str, api_key: str, program: str | None = None) -> dict[str, Any]:
    """Sell and spend a card; return the steps, the statement, the balances and the proof."""
    with httpx.Client(
        base_url=f"{base}/api/v1",
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=20,
    ) as client:
        shop = DemoShop(client)
        if program is None:
            program = shop.post(
                "/programs", name="Demo", currency="EUR", min_amount=500, max_amount=50_000
            )["id"]
        steps: list[dict[str, Any]] = []

        def note(what: str, noun: dict[str, Any]) -> None:
            steps.append({"what": what, "answer": noun})

        card = shop.post("/cards", program=program, amount=5_000)
        note("sold a card of 50.00", card)
        code = card["code"]
        till = {"currency": "EUR", "location": "till-1"}
        lunch = shop.post("/redemptions", code=code, amount=1_250, reference="lunch", **till)
        note("redeemed 12.50 at the till", lunch)
        too_much = shop.post("/redemptions", code=code, amount=10_000, reference="tv", **till)
        note("refused 100.00, above the balance", too_much)
        room = shop.post("/holds", code=code, amount=2_000, reference="room", **till)
        note("held 20.00 for a room", room)
        captured = shop.post(f"/holds/{room['id']}/capture", amount=1_500)
        note("captured 15.00 of it, released the rest", captured)
        returned = shop.post("/refunds", redemption=lunch["id"], amount=250)
        note("refunded 2.50 of the lunch", returned)
        rest = shop.post("/redemptions", code=code, amount=9_999, allow_remainder=True, **till)
        note("redeemed the remainder", rest)
        statement = shop.get(f"/cards/{card['id']}/entries", limit=100)
        return {
            "steps": steps,
            "statement": statement["data"],
            "balances": shop.get("/ledger/balances", currency="EUR"),
            "proof": shop.get("/ledger/proof"),
        }


def main(*, base: str, api_key: str, program: str | None = None, as_json: bool = False) -> int:
    """Run `florin demo`; return the exit code: 0 only if the ledger proof balances."""
    started = time.monotonic()
    try:
        outcome = run_walkthrough(base=base, api_key=api_key, program=program)
    except (DemoFailed, httpx.HTTPError) as error:
        print(f"The demo stopped: {error}. Is the fleet up? See florin status.", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(outcome))
    else:
        _print(outcome, time.monotonic() - started)
    return 0 if outcome["proof"]["balanced"] else 1


def _print(outcome: dict[str, Any], seconds: float) -> None:
    for step in outcome["steps"]:
        answer = step["answer"]
        result = answer.get("code") if answer.get("object") is None else answer["id"]
        print(f"  {step['what']:<40} {result}")
    print("\n  The card's statement, latest first:")
    for entry in outcome["statement"]:
        print(
            f"  {entry['sequence']:>4}  {entry['kind']:<10} {_money(entry['amount']):>10}"
            f"   balance {_money(entry['balance_after']):>9}"
        )
    balances = outcome["balances"]
    print(f"\n  The books ({balances['currency']}), as of {balances['as_of']}:")
    for account in balances["accounts"]:
        print(f"  {account['account']:<22} {_money(account['balance']):>14}")
    total = sum(account["balance"] for account in balances["accounts"])
    print(f"  {'sum':<22} {_money(total):>14}")
    word = "balance" if outcome["proof"]["balanced"] else "DO NOT BALANCE"
    print(f"\n  The books {word}. ({seconds:.1f} s)")


def _money(minor: int) -> str:
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d}"
