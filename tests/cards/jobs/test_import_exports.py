"""Imports of what other systems export: their columns and ways to write, with invented data."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from florin.cards import codes
from tests.cards.jobs.test_batch_change import all_cards
from tests.cards.jobs.test_bulk_issue import finished
from tests.cards.jobs.test_import_cards import send
from tests.support.api_calls import Json, made, problem, read
from tests.support.instance import Shop
from tests.support.workers import Crew

Client = httpx.AsyncClient

# Name, file, query, and of each card: the code, balance, state, day of expiry, recipient's address.
EXPORTS: list[tuple[str, bytes, dict[str, str], list[tuple[Any, ...]]]] = [
    (
        "Shopify, with the codes of its generator",
        (b"Id,Code,Customer Name,Email,Order Name,Created At,Expires On,Initial Balance,"
        b"Current Balance,Currency,Expired?,Enabled?,Disabled At,Note\r\n"
        b"551,H7K2 9MWQ 4XPA 7C3D,Ada Li,ada@example.org,#1001,2025-12-24 10:00:00 +0100,"
        b"2090-12-24,50.00,12.50,EUR,false,true,,\r\n"
        b"552,H7K2 9MWQ 4XPA 7C3E,,,#1002,2025-12-24 10:00:00 +0100,,25.00,25.00,EUR,false,false,"
        b"2026-01-02,lost\r\n"),
        {"amounts": "decimal"},
        [
            ("H7K2 9MWQ 4XPA 7C3D", 1250, "active", "2090-12-25", "ada@example.org"),
            ("H7K2 9MWQ 4XPA 7C3E", 2500, "blocked", None, None),
        ],
    ),
    (
        "WooCommerce Gift Cards",
        (b"ID,Code,Order ID,Sender,Sender Email,Recipient,Recipient Email,Message,Balance,"
        b"Remaining,Deliver Date,Expires,Status\n"
        b'1,AB3D-9XKQ-77LM-20ZT,88,Bo,bo@example.org,Cy,cy@example.org,"Hi,\nCy",100,40.5,,'
        b"2090-01-31,on\n"),
        {"amounts": "decimal"},
        [("ab3d9xkq77lm20zt", 4050, "active", "2090-02-01", "cy@example.org")],
    ),
    (
        "PW Gift Cards, in German",
        "Gutschein;Kartennummer;Guthaben;Ablaufdatum;Empf\u00e4nger\n"
        "x;PWGC-1111-AAAA;1.250,00;31.01.2090;J\u00f6rg\n".encode("cp1252"),
        {
            "amounts": "decimal",
            "columns": "code:Kartennummer,amount:Guthaben,expires_at:Ablaufdatum,"
            "recipient_name:Empf\u00e4nger",
        },
        [("PWGC 1111 AAAA", 125000, "active", "2090-02-01", None)],
    ),
    (
        "Square",
        (b"Card Number,Type,Status,Balance,Date Activated,Last Used\r\n"
        b"7783320000000017,Physical,Active,$25.00,11/30/2025,\r\n"
        b"7783320000000025,eGift,Deactivated,$0.00,11/30/2025,12/24/2025\r\n"),
        {"amounts": "decimal", "columns": "metadata.kind:Type,code:Card Number,amount:Balance,"
                                          "state:Status"},
        [
            ("7783 3200 0000 0017", 2500, "active", None, None),
            ("7783 3200 0000 0025", 0, "blocked", None, None),
        ],
    ),
    (
        "Lightspeed, as Unicode text of a spreadsheet",
        "Gift Card Number\tIssued\tExpiry\tTotal Sold\tTotal Redeemed\tBalance\r\n"
        "100200300\t2025-01-05\t2090-01-05\t80.00\t30.00\t50.00\r\n".encode("utf-16"),
        {"amounts": "decimal"},
        [("100200300", 5000, "active", "2090-01-06", None)],
    ),
    (
        "Gift Up",
        (b"Code,Title,Initial value,Remaining value,Currency,Created on,Expires on,Recipient name,"
        b"Recipient email,Status,Order number\n"
        b"GU-7Q2M9,Any,60,15,eur,2025-05-01,2090-05-01,Di,di@example.org,Partially redeemed,9\n"
        b"GU-7Q2M8,Any,60,0,EUR,2025-05-01,,,,Redeemed,10\n"),
        {"amounts": "decimal"},
        [
            ("gu7q2m9", 1500, "active", "2090-05-02", "di@example.org"),
            ("GU7Q2M8", 0, "active", None, None),
        ],
    ),
]  # fmt: skip


async def foreign(http: Client, **more: Any) -> str:
    """A program that takes codes of other systems."""
    body = {"name": "Moved", "currency": "EUR", "min_amount": 1000, "max_amount": 10**6}
    program = await made(http, "/programs", body | {"imported_codes": True} | more)
    assert program["imported_codes"] is True
    return str(program["id"])


async def look_up(http: Client, code: str) -> Json:
    answer = await http.post("/cards/lookup", json={"code": code})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "query", "expected"), EXPORTS, ids=[each[0] for each in EXPORTS]
)
async def test_an_export_is_imported(
    http: Client,
    workers: Crew,
    name: str,
    content: bytes,
    query: dict[str, str],
    expected: list[tuple[Any, ...]],
) -> None:
    program = await foreign(http)
    total = sum(each[1] for each in expected)
    words = query | {"program": program, "count": len(expected), "amount": total}
    check = await send(http, content, "", **words, dry_run="true")
    assert check.status_code == 200, check.text
    assert (check.json()["refused"], check.json()["file"]["amount"]) == (0, total), check.text
    asked = await send(http, content, f"export-{name}", **words)
    assert asked.status_code == 202, asked.text
    assert asked.json()["file"] == check.json()["file"]
    workers.start("--concurrency", "1")
    done = await finished(http, asked.json()["id"])
    assert (done["done"], done["refused"], done["codes"]) == (len(expected), 0, "none"), done
    for code, balance, state, day, email in expected:
        card = await look_up(http, code)
        assert (card["balance"], card["state"], card["program"]) == (balance, state, program)
        assert (card["expires_at"] or "")[:10] == (day or "")
        assert (card["recipient"]["email"] if card["recipient"] else None) == email
        if balance and state == "active":
            body = {"code": code, "amount": balance, "currency": "EUR"}
            assert (await made(http, "/redemptions", body))["balance"] == 0
    assert (await read(http, "/ledger/proof"))["balanced"]
    assert len(await all_cards(http, done["id"])) == len(expected)


async def test_the_answer_says_how_the_file_was_read(http: Client) -> None:
    program = await foreign(http)
    by_name = {each[0]: each for each in EXPORTS}
    _, content, query, _ = by_name["PW Gift Cards, in German"]
    file = (await send(http, content, "", **query, program=program, dry_run="1")).json()["file"]
    assert (file["separator"], file["encoding"]) == (";", "windows-1252")
    assert file["columns"]["amount"] == "Guthaben"
    assert file["ignored"] == ["Gutschein"]
    assert "Windows-1252" in file["warnings"][-1]
    _, content, query, _ = by_name["Lightspeed, as Unicode text of a spreadsheet"]
    file = (await send(http, content, "", **query, program=program, dry_run="1")).json()["file"]
    assert (file["separator"], file["encoding"]) == ("\t", "utf-16")
    assert file["columns"] == {
        "code": "Gift Card Number", "expires_at": "Expiry", "amount": "Balance",
    }  # fmt: skip
    assert file["ignored"] == ["Issued", "Total Sold", "Total Redeemed"]
    (warning,) = file["warnings"]
    assert "The shortest imported code has 9 characters" in warning


async def test_a_dry_run_stores_nothing(http: Client, shop: Shop, owner: Any) -> None:
    program = await foreign(http)
    text = "Code,Balance\nABC123,5\nAB,5\nABC124,-1\n"
    check = (await send(http, text, "", program=program, dry_run="true")).json()
    assert (check["id"], check["total"], check["refused"]) == ("job_" + "0" * 32, 3, 2)
    assert (check["file"]["count"], check["file"]["amount"]) == (3, 10)
    assert [each["line"] for each in check["errors"]] == [3, 4]
    assert "code: a code has 6 to 64 letters and digits, not 2" in check["errors"][0]["detail"]
    assert 'not "-1"' in check["errors"][1]["detail"]
    wrong = await send(http, text, "", program=program, dry_run="true", count=4)
    problem(wrong, 422, "invalid_request", param="count")
    for table in ("job", "job_part", "account"):
        count = f"select count(*) from florin.{table} where merchant = $1"  # noqa: S608 -- ours
        assert await owner.fetchval(count, shop.merchant) == 0, table


async def test_lines_are_refused_for_reasons_in_words(http: Client, shop: Shop) -> None:
    program = await foreign(http)
    text = (
        "code,balance,expires,status,pin,metadata.order\n"
        "ABCDE1,1,2020-01-01,,,\nABCDE2,1,,voided,,\nABCDE3,1000001,,,,\nABCDE4,0,,pending,,\n"
        "****1234,1,,,,\nABC-DE$,1,,,,\nABCDE5,1,,,12,\nABCDE6,1,never,,,\n"
    )
    check = (await send(http, text, "", program=program, dry_run="true")).json()
    for error, words in zip(
        check["errors"],
        (
            "has passed", "voided is not imported", "at most 1000000", "a pending card needs",
            "a part of the code only", "only letters and digits", "pin must have 3 to 12",
        ),
        strict=True,
    ):  # fmt: skip
        assert words in error["detail"], error
    own = (
        await send(http, "code,amount\nABCDE6,5\n", "", program=shop.program, dry_run="1")
    ).json()
    assert "a program with imported_codes takes codes of other" in own["errors"][0]["detail"]
    never = (
        await send(http, "amount,expires\n5,never\n", "", program=shop.program, dry_run="1")
    ).json()
    assert "cards of this program expire" in never["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("amount", "must be pairs"),
        ("total:Balance", "must be pairs"),
        ("amount:Nothing", 'there is no column "Nothing"'),
        ("amount:Balance,amount:Code", "is given twice"),
        ('"amount:Balance', "must be pairs"),
    ],
)
async def test_wrong_columns_are_named(http: Client, columns: str, words: str) -> None:
    answer = await send(http, "Code,Balance\nx,1\n", "", columns=columns, dry_run="true")
    refused = problem(answer, 422, "invalid_request", param="columns")
    assert words in refused["detail"], refused


async def test_columns_that_may_mean_the_same_are_refused(http: Client) -> None:
    answer = await send(http, "Code,Balance,Amount\nx,1,1\n", "", dry_run="true")
    refused = problem(answer, 422, "invalid_request", param="Amount")
    assert "columns=amount:NAME" in refused["detail"]
    answer = await send(http, "Code,Balance,Blance\nx,1,1\n", "", dry_run="true")
    problem(answer, 422, "invalid_request", param="Blance")


async def test_an_own_code_sheet_is_imported_again(http: Client, shop: Shop, workers: Crew) -> None:
    body = {"program": shop.program, "amount": 700, "quantity": 2}
    job = (await http.post("/cards/bulk", json=body, headers={"idempotency-key": "sheet"})).json()
    workers.start("--concurrency", "1")
    await finished(http, job["id"])
    sheet = (await http.post(f"/jobs/{job['id']}/codes")).text
    check = (await send(http, sheet, "", program=shop.program, dry_run="true")).json()
    assert (check["total"], check["file"]["amount"], check["refused"]) == (2, 1400, 0), check
    again = (await send(http, sheet, "sheet-again", program=shop.program)).json()
    done = await finished(http, again["id"])
    assert (done["done"], done["refused"]) == (0, 2)
    assert done["errors"][0]["detail"] == "code: another card has this code"


async def test_state_pin_date_and_metadata_come_with_a_card(http: Client, workers: Crew) -> None:
    program = await foreign(http)
    own = codes.make_code()
    text = (
        "code,balance,state,pin,expires_at,metadata.order,metadata.shop\n"
        "lotus-77,900,active,a1b2,2090-01-01,W-1,\n"
        f"{own},800,pending,,,,\n"
    )
    asked = await send(http, text, "whole", program=program)
    workers.start("--concurrency", "1")
    done = await finished(http, asked.json()["id"])
    assert (done["done"], done["codes"]) == (2, "none"), done
    card = await look_up(http, "LOTUS 77")
    assert card["metadata"] == {"order": "W-1"}
    assert datetime.fromisoformat(card["expires_at"]) == datetime(2090, 1, 2, tzinfo=UTC)
    spend = {"code": "lotus77", "amount": 100, "currency": "EUR"}
    headers = {"idempotency-key": "spend-1"}
    problem(await http.post("/redemptions", json=spend, headers=headers), 402, "pin_required")
    wrong = await http.post("/redemptions", json=spend | {"pin": "a1b3"}, headers=headers)
    assert problem(wrong, 402, "pin_incorrect")["attempts_left"] == 4
    right = await http.post("/redemptions", json=spend | {"pin": "A1B2"}, headers=headers)
    assert right.status_code == 201, right.text
    batch = {"redemptions": [spend | {"pin": "a1b2", "idempotency_key": "batch-1"}]}
    (item,) = (await http.post("/redemptions/batch", json=batch)).json()["data"]
    assert item["status"] == 201, item
    pending = await look_up(http, own)
    assert (pending["state"], pending["balance"]) == ("pending", 0)
    active = await made(http, f"/cards/{pending['id']}/activate", status=200)
    assert active["balance"] == 800


async def test_codes_of_other_systems_are_unknown_without_such_a_program(
    http: Client,
) -> None:
    answer = await http.post("/cards/lookup", json={"code": "ABCDEF"})
    problem(answer, 422, "code_malformed")
    program = await foreign(http)
    refused = await http.patch(f"/programs/{program}", json={"imported_codes": False})
    problem(refused, 422, "invalid_request", param="imported_codes")
    answer = await http.post("/cards/lookup", json={"code": "AB"})
    problem(answer, 422, "code_malformed")
