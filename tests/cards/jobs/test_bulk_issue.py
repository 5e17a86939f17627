"""Bulk issue: exactly the requested number of cards, codes only once, even after kills."""

import asyncio
import csv
import io
import signal
from typing import Any
from uuid import UUID

import httpx
import pytest

from florin.cards.jobs import code_export
from florin.cards.jobs.bulk_issue import HEADER
from florin.cards.jobs.throttle import LEAST
from florin.identity.audit_log import AuditActor
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from tests.support.instance import SECRETS, Shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient


async def ask(http: Client, shop: Shop, quantity: int, key: str, **more: Any) -> httpx.Response:
    body = {"program": shop.program, "amount": 2500, "quantity": quantity, **more}
    return await http.post("/cards/bulk", json=body, headers={"idempotency-key": key})


async def finished(http: Client, job: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = (await http.get(f"/jobs/{job}")).json()
        return found if found["state"] == "finished" else None

    found: dict[str, Any] = await until(look, within_s=180)
    return found


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_job_from_beginning_to_end(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    asked = await ask(http, shop, 2345, "bulk-1")
    assert asked.status_code == 202, asked.text
    job = asked.json()
    assert (job["object"], job["state"], job["done"], job["total"]) == ("job", "queued", 0, 2345)
    early = await http.post(f"/jobs/{job['id']}/codes")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
    worker = workers.start("--concurrency", "2")
    done = await finished(http, job["id"])
    assert (done["done"], done["codes"]) == (2345, "waiting")
    again = await ask(http, shop, 2345, "bulk-1")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == job
    other = await ask(http, shop, 2346, "bulk-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    taken = await http.post(f"/jobs/{job['id']}/codes")
    assert taken.status_code == 200
    assert taken.headers["content-type"].startswith("text/csv")
    lines = rows(taken.text)
    assert len({line["code"] for line in lines}) == 2345
    twice = await http.post(f"/jobs/{job['id']}/codes")
    assert (twice.status_code, twice.json()["code"]) == (410, "codes_taken")
    assert await owner.fetchval("select count(*) from florin.job_code_export") == 0

    found = (await http.post("/cards/lookup", json={"code": lines[2000]["code"]})).json()
    assert (found["id"], found["state"], found["balance"]) == (lines[2000]["card"], "active", 2500)
    events = (await http.get("/events", params={"type": "job.finished"})).json()["data"]
    assert [event["data"]["object"]["id"] for event in events] == [job["id"]]
    assert (await http.get("/ledger/balances")).json()["liability"] == 2345 * 2500
    assert (await http.get("/ledger/proof")).json()["balanced"]
    assert workers.stop(worker) == 0


async def test_a_job_that_is_killed_and_stopped_issues_the_exact_number(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    total = 9_500
    job = (await ask(http, shop, total, "bulk-2")).json()["id"]

    async def beyond(number: int) -> bool:
        return int((await http.get(f"/jobs/{job}")).json()["done"]) >= number

    for part, how in ((1, signal.SIGKILL), (3000, signal.SIGTERM), (6000, signal.SIGKILL)):
        worker = workers.start("--concurrency", "3")
        await until(lambda: beyond(part))  # noqa: B023 -- awaited at once
        worker.send_signal(how)
        await asyncio.to_thread(worker.wait, 90)
        # The next one need not wait for the lease here.
        await owner.execute("update florin.queue_job set lease_until = now() where state = 1")
    workers.start()
    workers.start()
    await finished(http, job)
    lines = rows((await http.post(f"/jobs/{job}/codes")).text)
    assert len(lines) == total
    made = await owner.fetchrow(
        "select count(*), sum(balance)::bigint, count(distinct code_hash) from florin.account"
        " where merchant = $1",
        shop.merchant,
    )
    assert tuple(made) == (total, total * 2500, total)
    assert {line["card"] for line in lines} == {
        f"crd_{row['id'].hex}"
        for row in await owner.fetch(
            "select id from florin.account where merchant = $1", shop.merchant
        )
    }


async def downloads(owner: Any, job: str) -> list[tuple[str, str, int]]:
    """The audit records of a job's downloads: actor, action, number of the download."""
    rows = await owner.fetch(
        "select actor, action, (after->>'download')::int as number from florin.audit"
        " where subject = $1 order by id",
        job,
    )
    return [tuple(row) for row in rows]


async def job_with_codes(http: Client, shop: Shop, workers: Crew, quantity: int) -> str:
    job: str = (await ask(http, shop, quantity, f"codes-{quantity}")).json()["id"]
    workers.start()
    await finished(http, job)
    return job


async def another_key(http: Client) -> dict[str, str]:
    made = await http.post("/api-keys", json={"name": "k", "scopes": ["cards:read", "cards:write"]})
    return {"authorization": f"Bearer {made.json()['secret']}"}


async def begin_download(http: Client, shop: Shop, database: Database, job: str) -> Any:
    """Start a download with the client's own key, without reading it."""
    actor = (await http.get("/auth/me")).json()["actor"]
    by = AuditActor(merchant=shop.merchant, actor=actor)
    sealer = Sealer(SECRETS["FLORIN_SEAL_KEY"])
    return await code_export.take_codes(database, sealer, by, UUID(job.removeprefix("job_")))


async def test_an_interrupted_download_is_repeated_by_its_principal_only(
    http: Client, shop: Shop, workers: Crew, database: Database, owner: Any
) -> None:
    job = await job_with_codes(http, shop, workers, 3000)
    other = await another_key(http)
    me = (await http.get("/auth/me")).json()["actor"]
    first = await begin_download(http, shop, database, job)
    assert await anext(first) == HEADER.encode()
    assert len((await anext(first)).splitlines()) == LEAST
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "downloading"
    for headers, waits in (({}, "60"), (other, None)):
        second = await http.post(f"/jobs/{job}/codes", headers=headers)
        assert (second.status_code, second.json()["code"]) == (409, "codes_being_taken")
        assert second.headers.get("retry-after") == waits
    await first.aclose()

    stranger = await http.post(f"/jobs/{job}/codes", headers=other)
    assert (stranger.status_code, stranger.json()["code"]) == (409, "codes_being_taken")
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "downloading"
    answer = await http.post(f"/jobs/{job}/codes")
    assert len(rows(answer.text)) == 3000
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "taken"
    for headers in ({}, other):
        late = await http.post(f"/jobs/{job}/codes", headers=headers)
        assert (late.status_code, late.json()["code"]) == (410, "codes_taken")
    assert await downloads(owner, job) == [
        (me, "codes.download_began", 1),
        (me, "codes.download_cut_off", 1),
        (me, "codes.download_began", 2),
        (me, "codes.taken", 2),
    ]


async def test_a_replaced_download_changes_nothing(
    http: Client, shop: Shop, workers: Crew, database: Database, owner: Any
) -> None:
    """The download stalled for too long, and its principal started another one."""
    job = await job_with_codes(http, shop, workers, 600)
    slow = await begin_download(http, shop, database, job)
    assert await anext(slow) == HEADER.encode()
    await owner.execute("update florin.job set downloading_until = now() - interval '1 s'")
    again = await begin_download(http, shop, database, job)
    assert await anext(again) == HEADER.encode()
    with pytest.raises(code_export.DownloadLost):
        async for _ in slow:
            pass
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "downloading"
    lines = b"".join([line async for line in again]).decode()
    assert len(lines.splitlines()) == 600
    taken = [action for _, action, _ in await downloads(owner, job)]
    assert taken == ["codes.download_began", "codes.download_began", "codes.taken"]


async def test_a_lost_download_sends_no_further_codes(
    http: Client,
    shop: Shop,
    workers: Crew,
    database: Database,
    owner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(code_export, "SHEETS", 1)  # renews after each part
    job = await job_with_codes(http, shop, workers, 2500)
    blocks = "select count(*) from florin.job_code_export where job = $1"
    assert await owner.fetchval(blocks, UUID(job.removeprefix("job_"))) > 1
    slow = await begin_download(http, shop, database, job)
    assert await anext(slow) == HEADER.encode()
    await owner.execute("update florin.job set downloading_until = now() - interval '1 s'")
    again = await begin_download(http, shop, database, job)
    await anext(slow)  # was read before it renewed
    with pytest.raises(code_export.DownloadLost):
        await anext(slow)
    assert b"".join([block async for block in again]).count(b"\n") == 2501


async def test_a_lost_download_erases_nothing(
    http: Client, shop: Shop, workers: Crew, database: Database, owner: Any
) -> None:
    """The download is replaced between its last renewal and the end of the file."""
    job = await job_with_codes(http, shop, workers, 3)
    uuid = UUID(job.removeprefix("job_"))
    first = await begin_download(http, shop, database, job)
    number = await owner.fetchval("select download_number from florin.job where id = $1", uuid)
    await owner.execute("update florin.job set downloading_until = now() - interval '1 s'")
    again = await begin_download(http, shop, database, job)
    by = AuditActor(merchant=shop.merchant, actor=(await http.get("/auth/me")).json()["actor"])
    lost = code_export.Download(job=uuid, by=by, number=number, cards=3)
    with pytest.raises(code_export.DownloadLost):
        await code_export._finish(database, lost, 0)  # pyright: ignore[reportPrivateUsage]
    assert b"".join([block async for block in again]).count(b"\n") == 4
    await first.aclose()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_get_of_the_codes_url_takes_nothing(
    http: Client, shop: Shop, workers: Crew, owner: Any, method: str
) -> None:
    job = await job_with_codes(http, shop, workers, 3 if method == "GET" else 4)
    answer = await http.request(method, f"/jobs/{job}/codes")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"].split(", ")
    if method == "GET":
        problem = answer.json()
        assert problem["code"] == "method_not_allowed"
        assert problem["detail"].endswith(f"send POST to /api/v1/jobs/{job}/codes")
    assert (await http.get(f"/jobs/{job}")).json()["codes"] == "waiting"
    assert await downloads(owner, job) == []


async def test_what_is_refused(http: Client, shop: Shop, owner: Any) -> None:
    for body, status, code in (
        ({"quantity": 1_000_001}, 422, "invalid_request"),
        ({"quantity": 0}, 422, "invalid_request"),
        ({"amount": 10**12 + 1}, 422, "invalid_request"),
        ({"program": "prg_" + "0" * 32}, 404, "not_found"),
    ):
        wanted = {"program": shop.program, "amount": 100, "quantity": 10, **body}
        answer = await http.post(
            "/cards/bulk", json=wanted, headers={"idempotency-key": "bulk-refused"}
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    keyless = await http.post(
        "/cards/bulk", json={"program": shop.program, "amount": 100, "quantity": 10}
    )
    assert keyless.json()["code"] == "idempotency_key_required"
    assert await owner.fetchval("select count(*) from florin.outbox") == 0
    missing = await http.get(f"/jobs/job_{'0' * 32}")
    assert missing.status_code == 404


async def test_a_job_that_fails_says_so_and_goes_on_when_it_is_retried(
    http: Client, shop: Shop, owner: Any, workers: Crew
) -> None:
    job = (await ask(http, shop, 100, "bulk-4")).json()["id"]
    # As one that the release before accepted, and the program changes before its turn comes.
    await owner.execute("update florin.job set amounts_accepted = false")
    await owner.execute("update florin.program set max_amount = 1000, min_amount = 1")
    workers.start()

    async def failed() -> bool:
        return (await http.get(f"/jobs/{job}")).json()["state"] == "failed"

    await until(failed)
    await owner.execute("update florin.program set max_amount = 1000000")
    await owner.execute("update florin.queue_job set state = 0, attempts = 0 where state = 2")
    assert (await finished(http, job))["done"] == 100


async def test_the_download_includes_pins(http: Client, shop: Shop, workers: Crew) -> None:
    rules = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5000, "pin": True}
    program = (await http.post("/programs", json=rules, headers={"idempotency-key": "p"})).json()
    job = (await ask(http, shop, 3, "bulk-pin", program=program["id"])).json()
    workers.start("--concurrency", "1")
    await finished(http, job["id"])
    lines = rows((await http.post(f"/jobs/{job['id']}/codes")).text)
    assert len(lines) == 3
    for line in lines:
        spend = {"code": line["code"], "amount": 1, "currency": "EUR"}
        answers = [
            await http.post("/redemptions", json=body, headers={"idempotency-key": line["card"]})
            for body in (spend, spend | {"pin": line["pin"]})
        ]
        assert [answer.status_code for answer in answers] == [402, 201]
