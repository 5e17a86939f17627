"""Acceptance of jobs: what was accepted is made under the rules of that moment; a job that fails
says why, and what it made can be taken.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from florin.cards.jobs import code_export
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.ledger.issue import Issuance, issue_in
from florin.ledger.refusals import AmountNotAllowed
from tests.cards.jobs.test_bulk_issue import ask, begin_download, finished, rows
from tests.cards.jobs.test_import_cards import file, send
from tests.support.instance import Shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient
NARROW = "update florin.program set min_amount = 1, max_amount = 2, denominations = '{1,2}'"
WIDE = "update florin.program set max_amount = 1000000, denominations = null"


async def issue_one(http: Client, shop: Shop) -> httpx.Response:
    body = {"program": shop.program, "amount": 2500}
    return await http.post("/cards", json=body, headers={"idempotency-key": "ordinary"})


async def test_limits_changed_since_do_not_concern_what_was_accepted(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    bulk = (await ask(http, shop, 60, "accepted")).json()["id"]
    file_job = (await send(http, file((2500, ""), (300, "")), "accepted-file")).json()["id"]
    await owner.execute(NARROW)
    workers.start("--concurrency", "1")
    for job, number in ((bulk, 60), (file_job, 2)):
        done = await finished(http, job)
        assert (done["done"], done["refused"], done["errors"]) == (number, 0, [])
        assert len(rows((await http.post(f"/jobs/{job}/codes")).text)) == number
    ordinary = await issue_one(http, shop)
    assert (ordinary.status_code, ordinary.json()["code"]) == (422, "amount_not_allowed")
    refused = await ask(http, shop, 5, "too-late")
    assert (refused.status_code, refused.json()["code"]) == (422, "amount_not_allowed")
    late = (await send(http, file((2500, ""), (2, "")), "late-file")).json()
    assert [error["line"] for error in late["errors"]] == [2]
    assert "allows at most 2, not 2500" in late["errors"][0]["detail"]


@pytest.mark.parametrize("changed", ["amount", "job", "finished"])
async def test_a_job_issues_only_its_accepted_amounts(
    http: Client, shop: Shop, owner: Any, database: Database, changed: str
) -> None:
    job = UUID((await ask(http, shop, 1, "excuse")).json()["id"].removeprefix("job_"))
    await owner.execute(NARROW)
    if changed == "finished":
        await owner.execute("update florin.job set state = 'finished', done = 1 where id = $1", job)
    issuance = Issuance(
        merchant=shop.merchant,
        program=ids.parse_id("prg", shop.program) or ids.new_id(),
        amount=2501 if changed == "amount" else 2500,
        code=bytes(32),
        last4="0000",
        sealed=None,
        actor="key_test",
    )
    with pytest.raises(AmountNotAllowed):
        async with database.transaction() as tx:
            await issue_in(tx, [issuance], job=ids.new_id() if changed == "job" else job)


@asynccontextmanager
async def second_chunk_refused(owner: Any) -> AsyncGenerator[None]:
    """From the second chunk on, amounts are checked as if the job was not accepted with them."""
    await owner.execute(NARROW)
    await owner.execute(
        "create function florin.test_unaccept() returns trigger language plpgsql as"
        " $$ begin new.amounts_accepted := false; return new; end $$;"
        "create trigger test_unaccept before update on florin.job for each row"
        " when (new.done = 50) execute function florin.test_unaccept()"
    )
    try:
        yield
    finally:
        await owner.execute("drop function florin.test_unaccept() cascade")


async def failed_half_way(http: Client, shop: Shop, owner: Any, workers: Crew) -> str:
    """A job of 100 cards that failed after 50."""
    job: str = (await ask(http, shop, 100, "half-way")).json()["id"]

    async def failed() -> bool:
        return bool((await http.get(f"/jobs/{job}")).json()["state"] == "failed")

    async with second_chunk_refused(owner):
        workers.start("--concurrency", "1")
        await until(failed)
    return job


async def retried(http: Client, owner: Any, job: str) -> None:
    await owner.execute(WIDE)
    await owner.execute("update florin.queue_job set state = 0, attempts = 0 where state = 2")
    await finished(http, job)


async def test_a_job_that_failed_says_why_and_its_codes_can_be_taken(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    job = await failed_half_way(http, shop, owner, workers)
    found = (await http.get(f"/jobs/{job}")).json()
    assert (found["done"], found["codes"]) == (50, "waiting")
    (error,) = found["errors"]
    assert error["line"] is None
    assert error["detail"].startswith("amount_not_allowed: ")
    assert ".py" not in error["detail"]
    first = rows((await http.post(f"/jobs/{job}/codes")).text)
    assert len(first) == 50
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "taken"
    again = await http.post(f"/jobs/{job}/codes")
    assert (again.status_code, again.json()["code"]) == (410, "codes_taken")

    # The codes of cards that are issued later can be downloaded as well.
    await retried(http, owner, job)
    found = (await http.get(f"/jobs/{job}")).json()
    assert (found["done"], found["errors"], found["codes"]) == (100, [], "waiting")
    second = rows((await http.post(f"/jobs/{job}/codes")).text)
    assert len({line["code"] for line in first + second}) == 100
    assert await owner.fetchval("select count(*) from florin.job_code_export") == 0


async def test_codes_made_while_a_download_ends_are_kept(
    http: Client, shop: Shop, owner: Any, workers: Crew, database: Database
) -> None:
    job = await failed_half_way(http, shop, owner, workers)
    lines = await begin_download(http, shop, database, job)
    await anext(lines)
    await retried(http, owner, job)
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "downloading"
    download = lines.ag_frame.f_locals["download"]
    # As if the second half had been issued after the last read of code parts.
    await code_export._finish(database, download, 0)  # pyright: ignore[reportPrivateUsage]
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "waiting"
    assert len(rows((await http.post(f"/jobs/{job}/codes")).text)) == 50
    with pytest.raises(code_export.DownloadLost):
        async for _ in lines:
            pass


async def test_an_internal_error_is_not_shown(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    job = (await ask(http, shop, 1, "internal")).json()["id"]
    workers.start("--concurrency", "1")
    await finished(http, job)
    await owner.execute("update florin.job set state = 'running' where state = 'finished'")
    await owner.execute(
        "insert into florin.queue_job (queue, kind, state, dedupe, payload, error) values"
        " ('bulk', 'issue', 2, $1, '{}', 'SealBroken: key 7 (encryption.py:3)')",
        f"job:{job.removeprefix('job_')}",
    )
    found = (await http.get(f"/jobs/{job}")).json()
    assert found["state"] == "failed"
    (error,) = found["errors"]
    assert (error["line"], "internal error" in error["detail"]) == (None, True)
    assert "SealBroken" not in error["detail"]
