"""Import: each row becomes one card, even after kills; wrong rows are reported."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from florin.cards import codes
from florin.cards.jobs.import_upload import UPLOADS_MAX
from florin.kit.postgres.database import Database
from tests.cards.jobs.test_bulk_issue import finished, rows
from tests.support.instance import SECRETS, Shop, make_shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient
CSV = {"content-type": "text/csv"}


async def send(http: Client, text: Any, key: str, **query: Any) -> httpx.Response:
    content = text.encode() if isinstance(text, str) else text
    headers = CSV | {"idempotency-key": key}
    return await http.post("/cards/import", content=content, params=query, headers=headers)


def file(*lines: tuple[object, ...], head: str = "amount,code") -> str:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return f"{head}\r\n{out.getvalue()}"


async def accounts(owner: Any, shop: Shop) -> list[Any]:
    return await owner.fetch(
        "select * from florin.account where merchant = $1 order by balance", shop.merchant
    )


async def test_a_file_becomes_its_cards(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    mine = [codes.make_code() for _ in range(3)]
    head = "recipient_name,code,program,amount,currency,recipient_email"
    text = "\ufeff" + file(
        ("Ada", codes.show_code(mine[0]).lower(), shop.program, 100, "EUR", "ada@example.com"),
        ("", mine[1], "", 250, "", ""),
        ('Bo "B", jr', "", shop.program, 400, "EUR", ""),
        head=head,
    )
    asked = await send(http, text, "import-1", count=3, amount=750)
    assert asked.status_code == 202, asked.text
    job = asked.json()
    assert (job["object"], job["kind"], job["state"]) == ("job", "import", "queued")
    assert (job["done"], job["total"], job["refused"], job["errors"]) == (0, 3, 0, [])
    assert mine[1] not in str(await owner.fetch("select * from florin.job_part"))
    workers.start("--concurrency", "1")
    done = await finished(http, job["id"])
    assert (done["done"], done["refused"], done["codes"]) == (3, 0, "waiting")

    found = (await http.post("/cards/lookup", json={"code": mine[0]})).json()
    assert (found["state"], found["balance"]) == ("active", 100)
    assert found["recipient"] == {"name": "Ada", "email": "ada@example.com"}
    spent = await http.post(
        "/redemptions",
        json={"code": mine[1], "amount": 250, "currency": "EUR"},
        headers={"idempotency-key": "spend"},
    )
    assert spent.status_code == 201
    # The download has only what the sender does not know, once.
    (line,) = rows((await http.post(f"/jobs/{job['id']}/codes")).text)
    assert (line["amount"], line["currency"], line["pin"]) == ("400", "EUR", "")
    assert (await http.post("/cards/lookup", json={"code": line["code"]})).json()["balance"] == 400
    assert (await http.post(f"/jobs/{job['id']}/codes")).json()["code"] == "codes_taken"
    for table in ("job_part", "job_code_export"):
        assert await owner.fetchval(f"select count(*) from florin.{table}") == 0  # noqa: S608 -- ours
    assert (await http.get("/ledger/proof")).json()["balanced"] is True

    again = await send(http, text, "import-1", count=3, amount=750)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == job
    assert await owner.fetchval("select count(*) from florin.job_part") == 0
    other = await send(http, text + "100,\r\n", "import-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await accounts(owner, shop)) == 3


async def test_each_row_is_refused_on_its_own(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    limits = {"name": "S", "currency": "USD", "min_amount": 10, "max_amount": 50, "pin": True}
    small = (await http.post("/programs", json=limits, headers={"idempotency-key": "p"})).json()
    twice, ours, wrong = codes.make_code(), codes.make_code(), "0000-0000-0000-0001"
    text = file(
        (shop.program, 100, ours, "EUR"),
        (shop.program, 100, wrong, ""),
        (shop.program, "1.5", "", ""),
        (shop.program, 0, "", ""),
        (shop.program, 10**12 + 1, "", ""),
        ("prg_" + "0" * 32, 100, "", ""),
        (small["id"], 51, "", ""),
        (small["id"], 20, "", "EUR"),
        (small["id"], 20, twice, "USD"),
        (shop.program, 100, twice, ""),
        (shop.program, 100, "", "", "", "more"),
        (shop.program, 100, ours, ""),
        (shop.program, 300, "", ""),
        head="program,amount,code,currency",
    )
    asked = (await send(http, text, "import-2", count=13)).json()
    at_once = [2, 3, 5, 6, 7, 8, 11]
    assert [error["line"] - 1 for error in asked["errors"]] == at_once
    assert (asked["refused"], asked["done"]) == (7, 0)
    workers.start("--concurrency", "1")
    done = await finished(http, asked["id"])
    assert (done["done"], done["total"], done["refused"]) == (4, 13, 9)
    messages = {error["line"] - 1: error["detail"] for error in done["errors"]}
    assert sorted(messages) == [2, 3, 5, 6, 7, 8, 10, 11, 12]
    for line, words in (
        (2, "code: "), (3, "amount: "), (5, "amount: "), (6, "program: "),
        (7, "amount: the program allows at most 50, not 51"),
        (8, 'currency: must be that of the program, USD, not "EUR"'),
        (10, "code: another card has this code"), (11, "there are 6 fields, not 4"),
        (12, "code: another card has this code"),
    ):  # fmt: skip
        assert words in messages[line], (line, messages[line])
    for secret in (twice, ours, wrong, codes.show_code(twice)):
        assert secret not in str(done)
    assert [card["balance"] for card in await accounts(owner, shop)] == [0, 20, 100, 300]
    # The download has a PIN that the sender cannot know, with the code that the sender gave.
    lines = rows((await http.post(f"/jobs/{asked['id']}/codes")).text)
    assert [(line["amount"], len(line["pin"])) for line in lines] == [
        ("0", 0), ("20", 6), ("300", 0),
    ]  # fmt: skip
    assert lines[1]["code"] == codes.show_code(twice)


async def test_wrong_totals_and_files_change_nothing(http: Client, shop: Shop, owner: Any) -> None:
    text = file((100, ""), (200, ""))
    for query, content, param in (
        ({"count": 3}, text, "count"),
        ({"amount": 301}, text, "amount"),
        ({"count": 2, "amount": 300}, text + "1,\r\n", "count"),
        ({"program": "prg_" + "0" * 32}, text, "program"),
        ({"count": 0}, text, "count"),
        ({"kount": 2}, text, "kount"),
        ({}, "amount,balance\r\n100,2\r\n", "balance"),
        ({}, "amount,amount\r\n100,2\r\n", "amount"),
        ({}, "code\r\n", "amount"),
        ({}, "amount\r\n", None),
        ({}, "", None),
        ({}, 'amount,"\r\n1\r\n', None),
        ({}, b"\xff\xfe\r\n", None),
        ({}, "amount\r\n" + "1" * 9000, None),
        ({}, 'amount,code\r\n1,"' + "1\r\n" * 9000, None),
        ({}, "amount\r\n,\r\n \r\n", None),
        ({}, "sep=|\r\namount|code\r\n1|\r\n", None),
    ):
        answer = await send(http, content, "import-3", **query)
        assert answer.status_code in {404, 422}, (query, answer.text)
        assert answer.json().get("param") == param, answer.text
    for headers, status, code in (
        ({"content-type": "application/json", "idempotency-key": "k"}, 422, "invalid_request"),
        (CSV, 400, "idempotency_key_required"),
        (CSV | {"authorization": "Bearer flk_nobody", "idempotency-key": "k"}, 401, None),
    ):
        answer = await http.post("/cards/import", content=text, headers=headers)
        assert answer.status_code == status, answer.text
        assert code in (None, answer.json()["code"])
    for table in ("job", "job_part", "idempotency"):
        count = f"select count(*) from florin.{table} where merchant = $1"  # noqa: S608 -- ours
        assert await owner.fetchval(count, shop.merchant) == 0, table


async def test_an_import_that_is_killed_again_and_again_is_exact(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    """Eight thousand rows, with the sender and the worker interrupted in between."""
    known = {codes.make_code(): 100 + n for n in range(4000)}
    text = file(*((amount, code) for code, amount in known.items()), *[(7, "")] * 4000).encode()

    async def torn() -> AsyncGenerator[bytes]:
        yield text[: len(text) // 2]
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 -- our own
        await send(http, torn(), "import-4")

    async def pieces() -> AsyncGenerator[bytes]:
        for start in range(0, len(text), 10_007):
            yield text[start : start + 10_007]

    total = sum(known.values()) + 7 * 4000
    job = (await send(http, pieces(), "import-4", count=8000, amount=total)).json()
    for part in (1, 3000, 6000):
        worker = workers.start("--concurrency", "1")

        async def so_far(part: int = part) -> bool:
            return (await http.get(f"/jobs/{job['id']}")).json()["done"] >= part

        await until(so_far)
        workers.kill(worker)
        await owner.execute("update florin.queue_job set lease_until = now() where state = 1")
    workers.start("--concurrency", "1")
    done = await finished(http, job["id"])
    assert (done["done"], done["refused"], done["errors"]) == (8000, 0, [])
    made = await accounts(owner, shop)
    assert len(made) == 8000
    hashes = {
        codes.code_hash(SECRETS["FLORIN_CODE_PEPPER"].encode(), shop.merchant, code): amount
        for code, amount in known.items()
    }
    found = {bytes(card["code_hash"]): card["balance"] for card in made}
    assert {each: found.get(each) for each in hashes} == hashes
    assert len(rows((await http.post(f"/jobs/{job['id']}/codes")).text)) == 4000

    # The parts of the incomplete file belong to no job and are deleted.
    async def dropped() -> bool:
        return await owner.fetchval("select count(*) from florin.job_part") == 0

    await until(dropped)


async def test_the_same_code_imported_twice_at_once_is_on_one_card(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    text = file(*((5, codes.make_code()) for _ in range(500)))
    jobs = [
        answer.json()
        for answer in await asyncio.gather(*(send(http, text, f"both-{n}") for n in range(2)))
    ]
    workers.start("--concurrency", "2")
    done = [await finished(http, job["id"]) for job in jobs]
    assert sum(job["refused"] for job in done) == 500
    assert len(await accounts(owner, shop)) == 500
    none = await http.post(f"/jobs/{jobs[0]['id']}/codes")
    assert none.status_code == 404


async def test_a_job_is_its_merchants(
    http: Client, shop: Shop, owner: Any, database: Database
) -> None:
    """Another merchant's program is unknown, and the job is hidden from other merchants."""
    other = await make_shop(owner, database)
    named = await send(http, file((5, "")), "i", program=other.program)
    assert (named.status_code, named.json()["param"]) == (404, "program")
    asked = (await send(http, file((other.program, 5), head="program,amount"), "i")).json()
    assert [error["line"] for error in asked["errors"]] == [2]
    answer = await http.get(f"/jobs/{asked['id']}", headers=other.headers)
    assert answer.status_code == 404
    del shop


async def test_a_merchant_sends_few_files_at_a_time(http: Client, shop: Shop, owner: Any) -> None:
    """Each takes disk before its job is counted."""
    end = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes]:
        yield b"amount\r\n" + b"100\r\n" * 2000
        await end.wait()
        yield b"100\r\n"

    async def kept() -> bool:
        count = "select count(distinct job) from florin.job_part where merchant = $1"
        return await owner.fetchval(count, shop.merchant) == UPLOADS_MAX

    slots = [asyncio.ensure_future(send(http, slow(), f"slow-{n}")) for n in range(UPLOADS_MAX)]
    await until(kept)
    refused = await send(http, "amount\r\n100\r\n", "one-too-many")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    end.set()
    assert [each.status_code for each in await asyncio.gather(*slots)] == [202] * UPLOADS_MAX
    assert (await send(http, "amount\r\n100\r\n", "one-too-many")).status_code == 202
