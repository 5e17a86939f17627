"""Compare the log of the tills with the ledger: both must contain the same entries."""

from collections import Counter, defaultdict
from typing import Any

import httpx

from tests.journeys.faults.tills import Call, Log
from tests.support.api_calls import Json, read

Entry = tuple[str, int, str | None]  # kind, amount, the noun that caused it

_PAGE = 100
_KINDS = {"/loads": "load", "/refunds": "refund", "/adjustments": "adjust"}


def expected(log: Log) -> dict[str, Counter[Entry]]:
    """The expected statement of each card, from the responses alone."""
    entries: dict[str, Counter[Entry]] = defaultdict(Counter)
    for call in log.calls:
        if call.happened:
            for card, entry in _entries_of(call):
                entries[card][entry] += 1
    for _, status, answer in log.items:
        if status == 201:
            entries[answer["card"]]["redeem", -answer["amount"], answer["id"]] += 1
    return entries


def _entries_of(call: Call) -> list[tuple[str, Entry]]:
    answer = call.answer
    if call.path == "/cards":
        active = answer["state"] == "active"
        return [(answer["id"], ("issue", answer["balance"], None))] if active else []
    if call.path.endswith("/activate"):
        return [(answer["id"], ("activate", answer["balance"], None))]
    if call.path == "/redemptions":
        return [(answer["card"], ("redeem", -answer["amount"], answer["id"]))]
    if call.path.endswith("/capture"):
        return [(answer["card"], ("redeem", -answer["captured"], answer["redemption"]))]
    if call.path == "/transfers":
        return [
            (answer["from"], ("transfer", -answer["amount"], answer["id"])),
            (answer["to"], ("transfer", answer["amount"], answer["id"])),
        ]
    if call.path in _KINDS:
        return [(answer["card"], (_KINDS[call.path], answer["amount"], answer["id"]))]
    assert call.path == "/holds" or call.path.endswith("/void"), call.path
    return []


def stated_balances(log: Log) -> dict[str, int]:
    """The balance after each transaction, as stated in its response."""
    made = [call.answer for call in log.calls if call.happened]
    made += [answer for _, status, answer in log.items if status == 201]
    return {
        noun["id"]: noun["balance"]
        for noun in made
        if noun["object"] in {"redemption", "refund", "load", "adjustment"}
    }


def open_holds(log: Log) -> Counter[str]:
    """The open holds of the tills on each card."""
    holds: dict[str, Json] = {}
    for call in log.calls:
        if call.happened and call.path.startswith("/holds"):
            holds[call.answer["id"]] = call.answer
    held: Counter[str] = Counter()
    for hold in holds.values():
        if hold["state"] == "open":
            held[hold["card"]] += hold["amount"]
    return held


async def every(http: httpx.AsyncClient, path: str) -> list[Json]:
    """All pages of a list."""
    found: list[Json] = []
    query: dict[str, Any] = {"limit": _PAGE}
    while True:
        page = await read(http, path, **query)
        found += page["data"]
        if not page["has_more"]:
            return found
        query["starting_after"] = found[-1]["id"]


async def compare(http: httpx.AsyncClient, log: Log) -> None:
    """Raises AssertionError if the log and the ledger differ."""
    assert (await read(http, "/ledger/proof"))["balanced"]
    wanted, stated, held = expected(log), stated_balances(log), open_holds(log)
    in_books = {card["id"]: card for card in await every(http, "/cards")}
    assert set(in_books) == set(log.cards)
    for card_id, card in in_books.items():
        statement = await every(http, f"/cards/{card_id}/entries")
        found = Counter((one["kind"], one["amount"], one["source"]) for one in statement)
        assert found == wanted[card_id], (card_id, found - wanted[card_id], wanted[card_id] - found)
        assert card["balance"] == sum(one["amount"] for one in statement)
        assert card["held"] == held[card_id]
        for one in statement:
            assert stated.get(one["source"], one["balance_after"]) == one["balance_after"], one
    books = await read(http, "/ledger/balances")
    assert books["liability"] == sum(card["balance"] for card in in_books.values())
    assert sum(account["balance"] for account in books["accounts"]) == 0


async def repeat(http: httpx.AsyncClient, calls: list[Call]) -> None:
    """Repeating a request with its key returns the first response and has no second effect."""
    for call in calls:
        said = await http.post(call.path, json=call.body, headers={"Idempotency-Key": call.key})
        assert said.status_code == call.status, (call, said.text)
        assert said.headers["idempotency-replayed"] == "true"
        assert said.json() == call.answer, call
