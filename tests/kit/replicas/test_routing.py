"""Reads on replicas are never older than what their caller has seen; money reads no replica."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from florin.bench.scenarios import read_your_writes
from florin.bench.verify.statement_log import is_decision
from florin.kit.observability import metrics
from florin.kit.postgres.database import Database, open_connection, position_lsn
from florin.kit.replicas.consistency_tokens import ConsistencyTokens
from florin.kit.replicas.primary import PrimaryMonitor
from florin.kit.replicas.replica import LAG_MAX_S, Replica
from florin.kit.replicas.routing import ReplicaRouter
from florin.kit.valkey import client as valkey
from florin.ops.gameday import faults
from tests.support import postgres_server, replicas, valkey_topologies
from tests.support.instance import instance, make_shop
from tests.support.waiting import until

NAMES = ("replica_1", "replica_2")


@dataclass(frozen=True, slots=True)
class Fleet:
    """A primary, two replicas, Valkey, and a database with a table for the tests."""

    primary: postgres_server.Server
    replicas: tuple[postgres_server.Server, ...]
    valkeys: valkey_topologies.Valkeys
    admins: tuple[Any, ...]  # superusers on the replicas

    def url(self, server: postgres_server.Server, role: str = "florin_app") -> str:
        return server.url(role, "florin_template")

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[ReplicaRouter]:
        """The routing of one instance."""
        database = Database(f"{self.url(self.primary)}?connection_limit=4")
        client = valkey.connect_valkey(self.valkeys.url)
        found = [
            Replica(f"{self.url(each)}?connection_limit=8", name="reads", server=name)
            for each, name in zip(self.replicas, NAMES, strict=True)
        ]
        routing = ReplicaRouter(database, found, ConsistencyTokens(client, database.position))
        await database.open()
        await routing.open()
        try:
            await usable(routing)
            yield routing
        finally:
            await routing.close()
            await database.close()
            await client.aclose()


async def usable(routing: ReplicaRouter, *, count: int = 2) -> None:
    await until(lambda: sum(each.usable() for each in routing.replicas) == count)


def value(metric: Any) -> float:
    """The value of a counter or a gauge."""
    return next(iter(metric.collect())).samples[0].value


@pytest.fixture(scope="module")
async def fleet() -> AsyncGenerator[Fleet]:
    program = postgres_server.program()
    async with AsyncExitStack() as stack:
        primary = stack.enter_context(postgres_server.server(program, more=replicas.PRIMARY))
        await postgres_server.make_template(primary)
        owner = await open_connection(primary.url("florin_owner", "florin_template"), name="tests")
        await owner.execute(
            "create table florin.probe (name text primary key, n bigint not null);"
            " grant select, insert, update on florin.probe to florin_app"
        )
        copies = tuple(
            stack.enter_context(replicas.replica(program, primary, name)) for name in NAMES
        )
        running = await stack.enter_async_context(valkey_topologies.single())
        # On a separate database: a paused replay delays no other test there.
        admins = [
            await open_connection(each.url("postgres", "postgres"), name="tests") for each in copies
        ]
        try:
            yield Fleet(primary, copies, running, tuple(admins))
        finally:
            for each in (owner, *admins):
                each.terminate()


async def write(routing: ReplicaRouter, name: str, *about: str) -> int:
    row = await routing.database.one(
        "insert into florin.probe as p values ($1, 1)"
        " on conflict (name) do update set n = p.n + 1 returning n",
        name,
    )
    assert row is not None
    await routing.record_write([*about, name], await routing.database.position())
    return row["n"]


async def read(routing: ReplicaRouter, principal: str, name: str, given: str | None = None) -> int:
    rows = await routing.reader(principal, given=given).all(
        "select n from florin.probe where name = $1", name
    )
    return rows[0]["n"] if rows else 0


def served() -> tuple[float, float]:
    """The number of reads so far: on replicas, and in total."""
    replicas_, primary = counted("why", "fresh"), counted("server", "primary")
    return replicas_, replicas_ + primary


def counted(label: str, label_value: str) -> float:
    samples = next(iter(metrics.replica_reads.collect())).samples
    return sum(
        each.value
        for each in samples
        if each.name.endswith("_total") and each.labels[label] == label_value
    )


async def test_no_read_is_older_than_its_caller_has_seen(
    fleet: Fleet, request: pytest.FixtureRequest
) -> None:
    """Random pauses of the replay, three processes, and forty callers that use any of them."""
    count = int(str(request.config.getoption("--reads")))
    seed = int(str(request.config.getoption("--seed") or 1))
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(fleet.process()) for _ in range(3)]
        before = served()
        found, share = read_your_writes.ReadCounts(), 0.0
        async with read_your_writes.pause_replay(fleet.admins, chance):
            # On a machine that stalls, replicas look too old for a while, so it tries again.
            for _ in range(5):
                found = await read_your_writes.run_callers(
                    [f"{seed} {n}" for n in range(40)],
                    lambda name: write(chance.choice(processes), name),
                    lambda name: read(chance.choice(processes), name, name),
                    reads=count,
                    chance=chance,
                )
                after = served()
                share = (after[0] - before[0]) / (after[1] - before[1])
                if share >= 0.8 or found.stale:
                    break
                before = after
                await usable(processes[0])
    assert found.stale == [], f"--seed {seed}"
    print(f"seed {seed}: {found.reads} reads, {share:.1%} by replicas, {len(found.stale)} stale")
    assert share >= 0.8, f"--seed {seed}"


async def test_reads_without_tokens_are_stale(fleet: Fleet) -> None:
    """Control: without tokens, stale reads do happen."""
    async with fleet.process() as process:
        await write(process, "control")
        position = position_lsn(await process.database.position())
        await until(lambda: all(each.replayed >= position for each in process.replicas))
        for admin in fleet.admins:
            await admin.execute("select pg_wal_replay_pause()")
        try:
            written = await write(process, "control")
            for replica in process.replicas:
                async with replica.pool.connection() as connection:
                    found = await connection.fetchval(
                        "select n from florin.probe where name = 'control'"
                    )
                assert found == written - 1
            assert await read(process, "control", "control") == written
        finally:
            for admin in fleet.admins:
                await admin.execute("select pg_wal_replay_resume()")


async def test_an_object_and_a_header_count_like_the_caller(fleet: Fleet) -> None:
    async with fleet.process() as process:
        await write(process, "shared")
        await read(process, "other", "shared")
        for admin in fleet.admins:
            await admin.execute("select pg_wal_replay_pause()")
        try:
            written = await write(process, "shared", "crd_1")
            position = await process.database.position()
            sql = "select n from florin.probe where name = 'shared'"
            by_object = await process.reader("another").covering("crd_1").all(sql)
            assert by_object[0]["n"] == written
            assert await read(process, "a third", "shared", position) == written
            missing = await write(process, "new")
            assert missing == 1
            found = await process.reader("a fourth").one(
                "select n from florin.probe where name = 'new'"
            )
            assert found is not None, "a replica's no is asked of the primary"
        finally:
            for admin in fleet.admins:
                await admin.execute("select pg_wal_replay_resume()")


async def test_no_read_is_stale_while_valkey_is_lost_empty_or_frozen(fleet: Fleet) -> None:
    async with fleet.process() as process, fleet.process() as other:
        node = fleet.valkeys.nodes[0]
        await write(process, "lost")
        await read(other, "lost", "lost")
        for admin in fleet.admins:
            await admin.execute("select pg_wal_replay_pause()")
        try:
            written = await write(process, "lost")
            node.ask("FLUSHALL")
            assert await read(other, "lost", "lost") == written
            assert await read(process, "lost", "lost") == written
            node.freeze()
            written = await write(process, "lost")  # waits until no replica is read
            assert await read(other, "lost", "lost") == written
            node.thaw()
            await asyncio.sleep(0.6)  # the breaker lets one request through
            assert await read(other, "lost", "lost") == written
        finally:
            node.thaw()
            for admin in fleet.admins:
                await admin.execute("select pg_wal_replay_resume()")
        await usable(process)
        before = served()
        async with asyncio.timeout(60):
            while served()[0] == before[0]:
                await read(process, "lost", "lost")
        assert value(metrics.tokens_failed) > 0


async def test_a_disconnected_replica_is_not_read(fleet: Fleet) -> None:
    """It has replayed all it received; only its receiver and the heartbeat show the lag."""
    async with fleet.process() as process:
        admin, cut = fleet.admins[0], process.replicas[0]
        source = await admin.fetchval("select current_setting('primary_conninfo')")
        await admin.execute("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
        await admin.execute("select pg_reload_conf()")
        try:
            await usable(process, count=1)
            assert not cut.usable()
            gauge = value(metrics.replica_lag_seconds.labels(cut.server))
            assert gauge == float("inf")
        finally:
            quoted = await admin.fetchval("select quote_literal($1::text)", source)
            await admin.execute(f"alter system set primary_conninfo = {quoted}")
            await admin.execute("select pg_reload_conf()")
        await usable(process)


async def test_a_frozen_replica_is_skipped_and_used_again(fleet: Fleet) -> None:
    async with fleet.process() as process:
        pids = faults.process_tree(fleet.replicas[1].process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            written = await write(process, "frozen")
            async with asyncio.timeout(LAG_MAX_S + 60):
                found = await asyncio.gather(*(read(process, "x", "frozen") for _ in range(20)))
            assert max(found) == written
            await usable(process, count=1)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        await usable(process)


async def test_a_read_that_conflicts_with_the_replay_is_repeated_elsewhere(fleet: Fleet) -> None:
    async with fleet.process() as process:
        for admin in fleet.admins:
            await admin.execute("alter system set max_standby_streaming_delay = 0")
            await admin.execute("alter system set hot_standby_feedback = off")
            await admin.execute("select pg_reload_conf()")
        owner = await open_connection(fleet.url(fleet.primary, "postgres"), name="tests")
        try:
            await _conflict(fleet, process, owner)
        finally:
            await owner.close()
            for admin in fleet.admins:
                await admin.execute("alter system reset max_standby_streaming_delay")
                await admin.execute("alter system reset hot_standby_feedback")
                await admin.execute("select pg_reload_conf()")


async def _conflict(fleet: Fleet, process: ReplicaRouter, owner: Any) -> None:
    await owner.execute(
        "create table florin.conflict as select n, 0.0 as nap from generate_series(1, 1000) as n"
    )
    await owner.execute("grant select on florin.conflict to florin_app")
    before = counted("why", "conflict")
    for _ in range(5):  # on a busy machine the read may end before the vacuum
        # A read sleeps for as long as the table says: until it conflicts, then not at all.
        await owner.execute("update florin.conflict set nap = 3.5")
        await process.record_write(["conflict"], await process.database.position())
        async with asyncio.timeout(60):
            fresh = counted("why", "fresh")
            while counted("why", "fresh") == fresh:  # at first the instance trusts no token
                await process.reader("conflict").all("select 1 from florin.conflict limit 1")
        slow = asyncio.ensure_future(
            process.reader("conflict").all(
                "select count(*) as n, pg_sleep(max(nap)) from florin.conflict where n > 0"
            )
        )
        while not slow.done() and not await _asleep(fleet):
            pass
        await owner.execute("update florin.conflict set nap = 0")
        await owner.execute("delete from florin.conflict where n > 500")
        await owner.execute("vacuum (truncate true) florin.conflict")
        assert (await slow)[0]["n"] in {500, 1000}
        if counted("why", "conflict") > before:
            return
    pytest.fail("no read was in the way of the replay")


async def _asleep(fleet: Fleet) -> bool:
    """Whether a replica runs such a read."""
    sql = (
        "select count(*) > 0 from pg_stat_activity where query like '%pg_sleep(max(nap))%'"
        " and wait_event = 'PgSleep'"
    )
    return any([await admin.fetchval(sql) for admin in fleet.admins])


async def test_an_acknowledged_position_beyond_the_log_raises_an_alarm(
    fleet: Fleet,
) -> None:
    async with fleet.process() as process:
        lost = metrics.writes_maybe_lost.labels("us")
        before = value(lost)
        position = await process.database.position()
        await process.record_write(["x"], position)
        await asyncio.sleep(0.6)
        assert value(lost) == before
        await process.record_write([], f"1.{position_lsn(position) + 2**40:x}")
        await until(lambda: value(lost) > before)


def test_a_position_beyond_the_end_of_a_timeline_raises_an_alarm() -> None:
    lost = metrics.writes_maybe_lost.labels("a test")
    primary = PrimaryMonitor("")
    primary.lsn, primary.timeline = 5000, 2
    primary.check("a test", 1, 900, 1000)
    assert value(lost) == 0
    primary.check("a test", 2, 4000, 1000)
    assert value(lost) == 0
    primary.check("a test", 1, 1001, 1000)
    assert value(lost) == 1


async def test_no_money_decision_reads_a_replica(fleet: Fleet) -> None:
    """The logs of the servers show which statements each received."""
    urls = ",".join(fleet.url(each) for each in fleet.replicas)
    owner = await open_connection(fleet.url(fleet.primary, "florin_owner"), name="tests")
    database = Database(fleet.url(fleet.primary))
    await database.open()
    shop = await make_shop(owner, database)
    await owner.close()
    settings = {"DATABASE_URL_REPLICA": urls, "REDIS_URL": fleet.valkeys.url}
    with instance(fleet.url(fleet.primary), FLORIN_INSTANCE="api-9", **settings) as running:
        async with httpx.AsyncClient(
            base_url=f"{running.base}/api/v1", headers=shop.headers, timeout=30
        ) as http:
            round_ = 0
            async with asyncio.timeout(60):
                while round_ < 5 or not listed(fleet):  # on replicas, once the instance knows them
                    await everything(http, shop.program, round_)
                    round_ += 1
            lines = (await http.get(f"{running.operations}/metrics")).text.splitlines()
            bad = await http.get("/cards", headers={"Florin-Consistency": "now"})
    await database.close()
    assert bad.status_code == 422
    assert any(line.startswith('florin_pool_limit{server="replica-1"} 10') for line in lines)
    assert [what for what in asked(fleet) if is_decision(what)] == []
    statements = [what for who, what in replicas.asked(fleet.primary) if "api-9" in who]
    assert any(" post(" in what and is_decision(what) for what in statements)
    assert any("api_key" in what and is_decision(what) for what in statements)


def asked(fleet: Fleet) -> list[str]:
    """The statements that this instance sent to the replicas."""
    return [what for each in fleet.replicas for who, what in replicas.asked(each) if "api-9" in who]


def listed(fleet: Fleet) -> bool:
    """Whether lists are read on replicas."""
    statements = asked(fleet)
    kinds = ("florin.transfer", "florin.event", "florin.account", "florin.hold")
    return all(any(kind in what for what in statements) for kind in kinds)


@pytest.mark.slow
async def test_an_unconfirmed_commit_has_an_unknown_outcome(fleet: Fleet) -> None:
    """Without a confirmation the commit is not acknowledged, cancelled, or done twice."""
    owner = await open_connection(fleet.url(fleet.primary, "florin_owner"), name="tests")
    database = Database(fleet.url(fleet.primary))
    await database.open()
    shop = await make_shop(owner, database)
    await owner.close()
    await database.close()
    admin = await open_connection(fleet.primary.url("postgres", "postgres"), name="tests")
    with instance(fleet.url(fleet.primary)) as running:
        base = f"{running.base}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=shop.headers, timeout=60) as http:
            sold = await http.post(
                "/cards",
                json={"program": shop.program, "amount": 1000},
                headers={"Idempotency-Key": "sale"},
            )
            spend = {"card": sold.json()["id"], "amount": 100, "currency": "EUR"}
            keyed = {"Idempotency-Key": "waits"}
            await admin.execute("alter system set synchronous_standby_names = 'absent'")
            await admin.execute("select pg_reload_conf()")
            try:
                answer = await http.post("/redemptions", json=spend, headers=keyed)
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] == "outcome_unknown"
            finally:
                await admin.execute("alter system reset synchronous_standby_names")
                await admin.execute("select pg_reload_conf()")
            answer = await http.post("/redemptions", json=spend, headers=keyed)
            assert answer.status_code == 201
            assert answer.headers["idempotency-replayed"] == "true"
            assert answer.json()["balance"] == 900
            card = await http.get(f"/cards/{sold.json()['id']}")
            assert card.json()["balance"] == 900
    await admin.close()


async def everything(http: httpx.AsyncClient, program: str, n: int) -> None:
    """Writes, and reads of their results: each read shows them, whichever server answers."""

    async def post(path: str, body: dict[str, Any], key: str) -> Any:
        answer = await http.post(path, json=body, headers={"Idempotency-Key": f"{key} {n}"})
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    async def get(path: str, **params: Any) -> Any:
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    card = await post("/cards", {"program": program, "amount": 5000}, "sale")
    assert (await get("/cards", limit=1))["data"][0]["id"] == card["id"]
    spend = {"card": card["id"], "amount": 700, "currency": "EUR"}
    spent = await post(
        "/redemptions", {"code": card["code"], "amount": 700, "currency": "EUR"}, "r"
    )
    assert (await get("/redemptions", limit=1))["data"][0]["id"] == spent["id"]
    assert (await get(f"/cards/{card['id']}/entries"))["data"][0]["balance_after"] == 4300
    held = await post("/holds", spend, "h")
    assert (await get("/holds", limit=1))["data"][0]["id"] == held["id"]
    await post(f"/holds/{held['id']}/capture", {}, "c")
    await post("/refunds", {"redemption": spent["id"], "amount": 100}, "f")
    assert (await get("/entries", limit=1))["data"][0]["balance_after"] == 3700
    assert (await get("/events", limit=1))["data"][0]["type"] == "card.refunded"
    assert (await get("/ledger/proof"))["balanced"] is True
    assert (await get("/ledger/balances"))["liability"] >= 3700
