"""VAT: orders and reports say what is due when cards are sold and when they are spent, to the unit.

19 % of 119.00 is 19.00, and of 50.00 it is 7.98.
"""

import csv
import io
from typing import Any

import httpx
import pytest

from florin.cards import codes
from florin.kit.postgres.database import Database
from florin.merchants.vat import contained_vat
from florin.orders.clawback import post_card
from tests.cards.jobs.test_bulk_issue import finished
from tests.cards.jobs.test_import_cards import send
from tests.orders.selling import buy, choose, dashboard, place
from tests.support.api_calls import Json, issue, made, problem, read, redeem
from tests.support.instance import Instance, Shop, make_shop
from tests.support.members import client_of, uuid_of
from tests.support.workers import Crew

GERMAN = {"treatment": "single_purpose", "country": "DE", "rate": 1900}
REDUCED = {"treatment": "single_purpose", "country": "DE", "rate": 700}
MULTI = {"treatment": "multi_purpose"}
COLUMNS = (
    *("month", "currency", "treatment", "country", "rate", "sold", "returned", "redeemed"),
    *("refunded", "expired", "taxable", "net", "vat"),
)


async def treat(http: httpx.AsyncClient, shop: Shop, vat: Json) -> None:
    answer = await http.patch(f"/programs/{shop.program}", json={"vat": vat})
    assert answer.status_code == 200, answer.text


async def lines(http: httpx.AsyncClient, **period: str) -> list[Json]:
    found: list[Json] = (await read(http, "/reports/vat", **period))["lines"]
    return found


def only(found: list[Json], rate: int | None = None) -> Json:
    """The line of a rate, without what is zero."""
    [line] = [each for each in found if each["rate"] == rate]
    assert line["currency"] == "EUR"
    assert line["treatment"] == ("multi_purpose" if rate is None else "single_purpose")
    left = ("month", "currency", "treatment", "country", "rate")
    return {name: value for name, value in line.items() if value and name not in left}


async def test_a_single_purpose_card_is_taxable_when_it_is_sold(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """Article 30b(1): each sale is the supply; the redemption is none."""
    await treat(http, shop, GERMAN)
    card = await issue(http, shop, 11_900)
    assert only(await lines(http), 1900) == {
        "sold": 11_900, "taxable": 11_900, "net": 10_000, "vat": 1900,
    }  # fmt: skip
    taken = await redeem(http, card, 5000)
    await made(http, "/refunds", {"redemption": taken["id"], "amount": 1000})
    await made(http, "/loads", {"card": card["id"], "amount": 5000})
    assert only(await lines(http), 1900) == {
        "sold": 16_900, "redeemed": 5000, "refunded": 1000,
        "taxable": 16_900, "net": 14_202, "vat": 2698,
    }  # fmt: skip


async def test_a_pending_card_is_taxable_when_it_is_activated(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    await treat(http, shop, GERMAN)
    card = await issue(http, shop, 11_900, activate=False)
    assert await lines(http) == []
    await made(http, f"/cards/{card['id']}/activate", status=200)
    assert only(await lines(http), 1900)["vat"] == 1900


async def test_a_multi_purpose_card_is_taxable_when_it_is_spent(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    """Article 30b(2): its sale is no supply; of its redemption the till knows the rates."""
    card = await issue(http, shop, 10_000)
    assert only(await lines(http)) == {"sold": 10_000}
    taken = await redeem(http, card, 6000)
    await made(http, "/refunds", {"redemption": taken["id"], "amount": 500})
    [line] = await lines(http)
    assert (line["country"], line["rate"], line["net"], line["vat"]) == (None,) * 4
    assert only([line]) == {
        "sold": 10_000, "redeemed": 6000, "refunded": 500, "taxable": 5500,
    }  # fmt: skip


async def test_what_a_change_of_the_treatment_finds_sold_stays_as_it_was(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    await treat(http, shop, GERMAN)
    card = await issue(http, shop, 11_900)
    await treat(http, shop, REDUCED)
    await issue(http, shop, 10_700)
    await treat(http, shop, MULTI)
    other = await issue(http, shop, 100)
    await made(http, "/loads", {"card": card["id"], "amount": 11_900})
    await redeem(http, other, 40)
    found = await lines(http)
    assert [line["rate"] for line in found] == [700, 1900, None]
    assert only(found, 700)["vat"] == 700
    assert only(found, 1900)["vat"] == 3800  # a load has the treatment of its card
    assert only(found)["taxable"] == 40


async def test_what_goes_back_to_buyers_is_not_taxable(http: httpx.AsyncClient, shop: Shop) -> None:
    """A refund and a lost dispute take unspent value back; spent value stays taxed."""
    await treat(http, shop, GERMAN)
    order = await buy(http, shop, 5000)
    [card] = order["items"][0]["cards"]
    await redeem(http, {"id": card}, 1000)
    await made(http, f"/orders/{order['id']}/refunds", {"amount": 1500, "reason": "asked"})
    assert only(await lines(http), 1900) == {
        "sold": 5000, "returned": 1500, "redeemed": 1000,
        "taxable": 3500, "net": 2941, "vat": 559,
    }  # fmt: skip
    disputed = await buy(http, shop, 11_900)
    await dashboard(http, disputed, "dispute")
    assert only(await lines(http), 1900)["vat"] == 559 + 1900
    await dashboard(http, disputed, "lose")
    assert only(await lines(http), 1900)["vat"] == 559


async def test_value_that_is_given_back_after_a_failed_refund_is_taxable_again(
    database: Database, http: httpx.AsyncClient, shop: Shop
) -> None:
    await treat(http, shop, GERMAN)
    order = await buy(http, shop, 11_900)
    await made(http, f"/orders/{order['id']}/refunds", {"reason": "asked"})
    assert only(await lines(http), 1900) == {"sold": 11_900, "returned": 11_900}
    # As it is booked when the gateway refuses the refund.
    card, payment = (
        uuid_of("crd", order["items"][0]["cards"][0]),
        uuid_of("pay", order["payment"]),
    )
    async with database.transaction() as tx:
        await post_card(tx, shop.merchant, card, payment, 11_900, op="giveback", actor="t")
    assert only(await lines(http), 1900)["vat"] == 1900


async def test_what_holders_take_in_cash_is_not_taxable(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    await treat(http, shop, GERMAN)
    assert (await http.patch(f"/programs/{shop.program}", json={"cash_out_limit": 500})).is_success
    card = await issue(http, shop, 500)
    await made(http, f"/cards/{card['id']}/cash-outs", {})
    assert only(await lines(http), 1900) == {"sold": 500, "returned": 500}


async def test_expiry_changes_the_vat_of_no_card(aging: Any, owner: Any) -> None:
    """VAT stays due on single-purpose cards, and never is on multi-purpose ones."""
    http, shop, pass_time = aging
    cards = [await issue(http, shop, 300)]
    await treat(http, shop, GERMAN)
    cards.append(await issue(http, shop, 11_900))
    period = {"to": (await read(http, "/reports/vat"))["to"]}
    await pass_time(days=365 * 12)
    due = [uuid_of("crd", card["id"]) for card in cards]
    await owner.execute("select expire_due($1, $2, 'florin')", shop.merchant, due)
    found = await lines(http)
    assert sum(line["expired"] for line in found if line["rate"] is None) == 300
    assert sum(line["taxable"] for line in found if line["rate"] is None) == 0
    assert sum(line["expired"] for line in found if line["rate"] == 1900) == 11_900
    assert sum(line["vat"] for line in found if line["rate"] == 1900) == 1900
    assert {line["expired"] for line in await lines(http, **period)} == {0}


async def test_value_that_moves_to_cards_of_another_treatment_is_returned_and_sold(
    http: httpx.AsyncClient, shop: Shop
) -> None:
    await treat(http, shop, GERMAN)
    first, second = await issue(http, shop, 11_900), await issue(http, shop, 100)
    await made(http, "/transfers", {"from": first["id"], "to": second["id"], "amount": 5000})
    assert only(await lines(http), 1900)["vat"] == 1900 + 16
    await treat(http, shop, MULTI)
    third = await issue(http, shop, 1)
    await made(http, "/transfers", {"from": second["id"], "to": third["id"], "amount": 5000})
    found = await lines(http)
    assert only(found, 1900)["vat"] == 1916 - 798
    assert only(found) == {"sold": 5001}


async def test_value_that_an_import_brings_was_sold_elsewhere(
    http: httpx.AsyncClient, shop: Shop, workers: Crew
) -> None:
    await treat(http, shop, GERMAN)
    text = f"amount,code,program\n11900,{codes.make_code()},{shop.program}\n"
    asked = await send(http, text, "import-1")
    workers.start("--concurrency", "1")
    assert (await finished(http, asked.json()["id"]))["done"] == 1
    assert await lines(http) == []
    [card] = (await read(http, "/cards"))["data"]
    await made(http, "/loads", {"card": card["id"], "amount": 11_900})
    await redeem(http, card, 23_800)
    assert only(await lines(http), 1900) == {
        "sold": 11_900, "redeemed": 23_800, "taxable": 11_900, "net": 10_000, "vat": 1900,
    }  # fmt: skip


async def test_unsold_stock_of_an_import_is_sold_when_it_is_activated(
    http: httpx.AsyncClient, shop: Shop, workers: Crew
) -> None:
    await treat(http, shop, GERMAN)
    text = (
        "amount,code,program,state\n"
        f"11900,{codes.make_code()},{shop.program},pending\n"
        f"700,{codes.make_code()},{shop.program},active\n"
    )
    asked = await send(http, text, "import-1")
    workers.start("--concurrency", "1")
    assert (await finished(http, asked.json()["id"]))["done"] == 2
    assert await lines(http) == []
    [stock] = (await read(http, "/cards", state="pending"))["data"]
    await made(http, f"/cards/{stock['id']}/activate", status=200)
    assert only(await lines(http), 1900) == {
        "sold": 11_900, "taxable": 11_900, "net": 10_000, "vat": 1900,
    }  # fmt: skip


async def test_a_card_without_a_treatment_has_the_one_of_its_order(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    """As the release before records it, when instances are rolled back with orders in progress."""
    await treat(http, shop, GERMAN)
    order = await buy(http, shop, 11_900)
    [card] = order["items"][0]["cards"]
    await owner.execute("update florin.card set vat_country = null, vat_rate = null")
    await redeem(http, {"id": card}, 1000)
    assert only(await lines(http), 1900) == {
        "sold": 11_900, "redeemed": 1000, "taxable": 11_900, "net": 10_000, "vat": 1900,
    }  # fmt: skip
    await treat(http, shop, MULTI)
    await buy(http, shop, 700)
    other = await issue(http, shop, 1)
    await made(http, "/transfers", {"from": card, "to": other["id"], "amount": 2380})
    found = await lines(http)
    assert only(found, 1900)["vat"] == 1900 - 380
    assert only(found)["sold"] == 700 + 1 + 2380


async def test_an_order_says_what_of_its_price_is_vat(http: httpx.AsyncClient, shop: Shop) -> None:
    """Rounded for each card, so that orders and report agree."""
    await treat(http, shop, GERMAN)
    other = await made(
        http,
        "/programs",
        {"name": "Books", "currency": "EUR", "min_amount": 1, "max_amount": 10**6, "vat": REDUCED},
    )
    plain = await made(
        http,
        "/programs",
        {"name": "All", "currency": "EUR", "min_amount": 1, "max_amount": 10**6},
    )
    items = [
        {"program": shop.program, "amount": 5000, "count": 3},
        {"program": shop.program, "amount": 100, "count": 1},
        {"program": other["id"], "amount": 10_700},
        {"program": plain["id"], "amount": 999},
    ]
    order = await place(http, shop, items=items)
    said = [
        {"country": "DE", "rate": 700, "gross": 10_700, "net": 10_000, "vat": 700},
        {"country": "DE", "rate": 1900, "gross": 15_100, "net": 12_690, "vat": 2410},
    ]
    assert order["vat"] == said
    # What was agreed stands, also if the program changes before it is paid.
    await treat(http, shop, MULTI)
    await choose(order, "paid")
    paid = await read(http, f"/orders/{order['id']}")
    assert (paid["state"], paid["vat"]) == ("fulfilled", said)
    found = await lines(http)
    assert [(line["rate"], line["taxable"], line["vat"]) for line in found if line["rate"]] == [
        (700, 10_700, 700),
        (1900, 15_100, 2410),
    ]
    events = (await read(http, "/events", type="order.fulfilled"))["data"]
    assert events[0]["data"]["object"]["vat"] == said
    assert (await buy(http, shop, 100))["vat"] == []


async def test_a_top_up_has_the_treatment_of_its_card(http: httpx.AsyncClient, shop: Shop) -> None:
    await treat(http, shop, GERMAN)
    card = await issue(http, shop, 11_900)
    await treat(http, shop, MULTI)
    item = {"program": shop.program, "amount": 11_900, "card": card["id"]}
    order = await buy(http, shop, items=[item])
    assert [each["vat"] for each in order["vat"]] == [1900]
    assert only(await lines(http), 1900)["vat"] == 3800


async def test_the_file_has_the_lines_of_the_report(http: httpx.AsyncClient, shop: Shop) -> None:
    await issue(http, shop, 70)
    await treat(http, shop, GERMAN)
    await issue(http, shop, 101)
    answer = await http.get("/reports/vat/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="vat.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert tuple(rows[0]) == COLUMNS
    said = [
        {name: "" if value is None else str(value) for name, value in line.items()}
        for line in await lines(http)
    ]
    assert rows == said
    assert int(rows[0]["vat"]) == contained_vat(101, 1900)


async def test_a_period_has_its_own_lines_and_a_merchant_its_own(
    api: Instance, http: httpx.AsyncClient, shop: Shop, owner: Any, database: Database
) -> None:
    await treat(http, shop, GERMAN)
    await issue(http, shop, 11_900)
    middle = (await read(http, "/reports/vat"))["to"]
    await issue(http, shop, 5000)
    before, after = await lines(http, to=middle), await lines(http, **{"from": middle})
    assert (only(before, 1900)["vat"], only(after, 1900)["vat"]) == (1900, 798)
    assert only(await lines(http), 1900)["vat"] == 2698
    refused = await http.get("/reports/vat", params={"from": "2030-01-01", "to": "2029-01-01"})
    problem(refused, 422, "invalid_request", param="from")
    stranger = await make_shop(owner, database)
    async with client_of(api, **stranger.headers) as other:
        assert await lines(other) == []


@pytest.mark.parametrize("rate", [0, 1, 250, 1900, 2550, 10_000])
async def test_the_report_rounds_as_orders_do(
    http: httpx.AsyncClient, shop: Shop, rate: int
) -> None:
    await treat(http, shop, {**GERMAN, "rate": rate})
    amounts = [1, 2, 3, 5, 33, 99, 101, 4999, 5000]
    for amount in amounts:
        await issue(http, shop, amount)
    [line] = await lines(http)
    assert line["vat"] == sum(contained_vat(amount, rate) for amount in amounts)
    assert line["net"] + line["vat"] == line["taxable"] == sum(amounts)
