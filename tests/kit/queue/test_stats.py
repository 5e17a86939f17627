"""Statistics: what queues and workers report, in the metrics and to operators."""

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.ops.system.ports import free_port
from tests.conftest import Urls
from tests.support.instance import Instance, Shop, instance, make_shop
from tests.support.waiting import until
from tests.support.workers import Crew

Client = httpx.AsyncClient
DONE = NewJob(queue="retention", kind="queue")
IN_VAIN = NewJob(
    queue="bulk", kind="issue", payload={"merchant": str(ids.new_id()), "job": str(ids.new_id())}
)


async def some_in_every_state(owner: Any) -> None:
    """Jobs in every state, in a queue that no worker serves."""
    await enqueue_now(owner, *(NewJob(queue="email-delivery", kind="x") for _ in range(7)))
    await owner.execute(
        "with these as (select id, row_number() over (order by id) n from florin.queue_job"
        "  where queue = 'email-delivery')"
        " update florin.queue_job j set state = case when n = 1 then 1 when n <= 3 then 2"
        "   when n <= 4 then 3 else 0 end,"
        "  fence = case when n = 1 then nextval('florin.queue_fence') end,"
        "  lease_until = case when n = 1 then now() + interval '1 hour' end,"
        "  due_at = now() + case when n = 4 then interval '1 hour' else - interval '90 s' end"
        " from these where these.id = j.id"
    )


async def worked(owner: Any) -> bool:
    rows = await owner.fetch("select * from queue_facts() where name in ('bulk','retention')")
    return sorted((row["completed"], row["died"]) for row in rows) == [(0, 1), (1, 0)]


async def samples(base: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    async with Client() as client:
        text = (await client.get(f"{base}/metrics")).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.slow
async def test_metrics_show_queues_workers_and_durations(
    api: Instance, http: Client, owner: Any, workers: Crew
) -> None:
    await owner.execute("delete from florin.queue_flow; delete from florin.queue_worker")
    await some_in_every_state(owner)
    port = free_port(None)
    worker = workers.start(FLORIN_OPERATIONS_PORT=str(port))
    await enqueue_now(owner, DONE, IN_VAIN)
    await until(lambda: worked(owner))

    shown = (await http.get("/queues")).json()
    assert (shown["object"], shown["has_more"]) == ("list", False)
    names = [queue["name"] for queue in shown["data"]]
    assert names.index("email-delivery") < names.index("bulk"), "the most important first"
    queues = {queue["name"]: queue for queue in shown["data"]}
    email = queues["email-delivery"]
    assert email["object"] == "queue"
    assert [email[state] for state in ("waiting", "delayed", "active", "dead")] == [3, 1, 1, 2]
    assert 90 <= email["oldest_age"] < 900
    assert [queues["bulk"][what] for what in ("completed", "failed", "dead")] == [0, 1, 1]
    assert [queues["retention"][what] for what in ("completed", "failed")] == [1, 0]
    assert queues["retention"]["service_time"] > 0

    async def seen() -> dict[tuple[str, ...], float] | None:
        found = await samples(api.operations)  # up to a second old
        return found if found["florin_queue_job_events_total", "died", "bulk"] == 1 else None

    found = await until(seen)
    length = "florin_queue_length"
    states = ("waiting", "delayed", "active", "dead")
    assert [found[length, "email-delivery", state] for state in states] == [3, 1, 1, 2]
    assert 90 <= found["florin_queue_oldest_seconds", "email-delivery"] < 900
    totals = [
        found["florin_queue_job_events_total", what, "retention"]
        for what in ("arrived", "completed", "failed", "died")
    ]
    assert totals == [1, 1, 0, 0]
    crew = [found["florin_queue_workers", state] for state in ("live", "stopping", "silent")]
    assert crew == [1, 0, 0]

    own = await samples(f"http://127.0.0.1:{port}")
    jobs = "florin_queue_jobs_total"
    assert (own[jobs, "completed", "retention"], own[jobs, "dead", "bulk"]) == (1, 1)
    assert own[jobs, "failed", "cleanup-tokens"] == 0, "a series begins before its first event"
    assert own["florin_queue_fenced_total", "bulk"] == 0
    for times in ("florin_queue_wait_seconds", "florin_queue_run_seconds"):
        assert own[f"{times}_count", "retention"] == 1
        assert own[f"{times}_bucket", "+Inf", "retention"] == 1
        assert own[f"{times}_sum", "retention"] > 0

    for server, limit in (("primary control", 3), ("primary jobs", 9)):
        assert own["florin_pool_limit", server] == limit
        assert own["florin_pool_open", server] >= own["florin_pool_idle", server]
    assert own["florin_pool_open", "primary control"] >= 1

    # A killed worker reports nothing more, and is counted as lost.
    workers.kill(worker)
    await owner.execute("update florin.queue_worker set heartbeat_at = now() - interval '31 s'")

    async def missed() -> bool:
        again = await samples(api.operations)
        states = ("live", "stopping", "silent")
        return [again["florin_queue_workers", state] for state in states] == [0, 0, 1]

    await until(missed)


async def test_only_operators_see_the_queues(
    urls: Urls, owner: Any, database: Database, shop: Shop
) -> None:
    other = await make_shop(owner, database)
    without = await make_shop(owner, database, scopes=frozenset({"cards:read"}))
    named = f"{ids.show_id('mer', shop.merchant)}, {ids.show_id('mer', without.merchant)}"
    with instance(urls.app, FLORIN_OPERATORS=named) as api:
        async with Client(base_url=f"{api.base}/api/v1") as client:
            answers = [
                await client.get("/queues", headers=each.headers) for each in (shop, other, without)
            ]
    assert [answer.status_code for answer in answers] == [200, 403, 403]
    assert {answer.json()["code"] for answer in answers[1:]} == {"forbidden"}


@pytest.fixture(autouse=True)
async def emptied(owner: Any) -> Any:
    yield
    await owner.execute("delete from florin.queue_job")
