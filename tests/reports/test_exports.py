"""Exports: cards as of an instant, entries, and the journal, as CSV that adds up."""

import asyncio
import csv
import io
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.csv_text import csv_rows
from florin.reports.exports import CARD_COLUMNS, ENTRY_COLUMNS, PAGE
from tests.ledger import calls
from tests.support.api_calls import issue, made, problem, read, redeem
from tests.support.instance import Shop

Rows = list[dict[str, str]]


async def export(http: httpx.AsyncClient, path: str, **query: Any) -> Rows:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_cards_are_those_of_the_instant(http: httpx.AsyncClient, shop: Shop) -> None:
    first = await issue(http, shop, 1000, recipient={"name": "Ada"}, metadata={"o": "1"})
    other = await issue(http, shop, 50, activate=False)
    await redeem(http, first, 300)
    then = (await read(http, "/ledger/balances"))["as_of"]
    before = await export(http, "/cards/export", as_of=then)
    await redeem(http, first, 700)
    await made(http, f"/cards/{first['id']}/block", status=200)
    await made(http, f"/cards/{other['id']}/activate", status=200)
    late = await issue(http, shop, 5)
    assert await export(http, "/cards/export", as_of=then) == before
    assert tuple(before[0]) == CARD_COLUMNS
    assert [(row["card"], row["state"], row["balance"]) for row in before] == [
        (first["id"], "active", "700"),
        (other["id"], "pending", "0"),
    ]
    assert (before[0]["recipient_name"], before[0]["metadata"]) == ("Ada", '{"o": "1"}')
    assert datetime.fromisoformat(before[0]["expires_at"]) == datetime.fromisoformat(
        first["expires_at"]
    )
    now = await export(http, "/cards/export")
    assert [(row["card"], row["state"], row["balance"]) for row in now] == [
        (first["id"], "blocked", "0"),
        (other["id"], "active", "50"),
        (late["id"], "active", "5"),
    ]
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    problem(
        await http.get("/cards/export", params={"as_of": ahead}), 422, "invalid_request",
        param="as_of",
    )  # fmt: skip


async def test_an_expired_card_is_so_in_the_export(aging: Any) -> None:
    http, shop, pass_time = aging
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    card = await issue(http, shop, 100, expires_at=soon)
    then = (await read(http, "/ledger/balances"))["as_of"]
    await pass_time(days=3)
    (row,) = await export(http, "/cards/export")
    assert (row["card"], row["state"]) == (card["id"], "expired")
    (row,) = await export(http, "/cards/export", as_of=then)
    assert row["state"] == "active"


async def test_more_cards_and_entries_than_a_page(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    number = 2 * PAGE + 7
    cards = [ids.new_id() for _ in range(number)]
    program = ids.require_id("prg", shop.program)
    # One transaction: all have one date, so that pages end in the middle of an instant.
    await calls.issue(
        owner, shop.merchant, program, cards, list(range(1, number + 1)), activate=[True] * number
    )
    found = await export(http, "/cards/export")
    assert {row["card"] for row in found} == {ids.show_id("crd", card) for card in cards}
    assert len(found) == number
    entries = await export(http, "/entries/export")
    assert tuple(entries[0]) == ENTRY_COLUMNS
    assert len({row["entry"] for row in entries}) == len(entries) == number
    total = sum(int(row["amount"]) for row in entries)
    assert total == sum(int(row["balance"]) for row in found) == number * (number + 1) // 2
    assert total == (await read(http, "/ledger/balances"))["liability"]


async def test_entries_of_a_time_in_their_order(http: httpx.AsyncClient, shop: Shop) -> None:
    card, other = await issue(http, shop, 100), await issue(http, shop, 100)
    await asyncio.sleep(0.01)
    begin = datetime.now(UTC).isoformat()
    await redeem(http, card, 10, reference="=1+1")
    body = {"from": card["id"], "to": other["id"], "amount": 5}
    await made(http, "/transfers", body)
    end = (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()
    await asyncio.sleep(0.01)
    await redeem(http, card, 1)
    rows = await export(http, "/entries/export", **{"from": begin, "to": end})
    assert [(row["kind"], row["amount"], row["balance_after"]) for row in rows] == [
        ("redeem", "-10", "90"),
        ("transfer", "5", "105"),
        ("transfer", "-5", "85"),
    ]
    assert rows[0]["reference"] == "'=1+1"
    whole = await export(http, "/entries/export")
    assert len(whole) == 6
    today = await export(http, "/entries/export", **{"from": begin[:10], "to": begin[:10]})
    assert len(today) in {0, 6}  # none just after midnight
    wrong = await http.get("/entries/export", params={"from": end, "to": begin})
    problem(wrong, 422, "invalid_request", param="from")
    wrong = await http.get("/entries/export", params={"from": "2027-13-01"})
    problem(wrong, 422, "invalid_request", param="from")


async def test_the_journal_adds_up_to_zero_for_each_day(aging: Any) -> None:
    http, shop, pass_time = aging
    card = await issue(http, shop, 1000)
    await redeem(http, card, 300)
    await pass_time(days=1)
    dollars = {"name": "D", "currency": "USD", "min_amount": 1, "max_amount": 100}
    program = await made(http, "/programs", dollars)
    await made(http, "/cards", {"program": program["id"], "amount": 70})
    await redeem(http, card, 200)
    rows = await export(http, "/reports/journal")
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        assert int(row["debit"]) - int(row["credit"]) == int(row["net"])
        sums[row["date"], row["currency"]] += int(row["net"])
    assert len(sums) == 3
    assert set(sums.values()) == {0}
    first = min(row["date"] for row in rows)
    assert {
        (row["account"], row["debit"], row["credit"])
        for row in rows
        if row["date"] == first
    } == {
        ("card", "300", "1000"), ("merchant_clearing", "1000", "0"),
        ("merchant_payable", "0", "300"),
    }  # fmt: skip
    cards = -sum(int(r["net"]) for r in rows if r["account"] == "card" and r["currency"] == "EUR")
    assert cards == (await read(http, "/ledger/balances"))["liability"]
    day = await export(http, "/reports/journal", **{"from": first, "to": first})
    assert day == [row for row in rows if row["date"] == first]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
def test_no_cell_is_a_formula(begin: str) -> None:
    text = csv_rows([[f"{begin}cmd", -5, None, datetime(2027, 1, 1, tzinfo=UTC), 'a"b, c']])
    (row,) = csv.reader(io.StringIO(text.decode(), newline=""))
    assert row == [f"'{begin}cmd", "-5", "", "2027-01-01T00:00:00Z", 'a"b, c']
