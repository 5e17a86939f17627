"""One client for three topologies: it survives the loss of masters, and money does not need it."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisClusterException

from florin.kit import valkey
from florin.kit.breaker import FAILURES, PAUSE_S, Breaker
from florin.kit.db import Database, connect
from tests import certificate, engine, replicas, valkeys
from tests.instance import Shop, instance, make_shop

BACK_WITHIN_S = 6.0
Kind = Callable[[], AbstractAsyncContextManager[valkeys.Valkeys]]
TWO: list[Kind] = [valkeys.sentinel, valkeys.cluster]


@pytest.mark.parametrize("kind", [valkeys.single, *TWO])
async def test_the_same_code_in_every_topology(kind: Kind) -> None:
    async with kind() as running:
        client = valkey.connect(running.url)
        pipe = client.pipeline(transaction=False)
        for n in range(50):
            pipe.set(valkey.key("test", f"{n}"), n)
        assert await pipe.execute() == [True] * 50
        for n in range(50):
            assert await client.get(valkey.key("test", f"{n}")) == str(n).encode()
        script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
        assert await script(keys=[valkey.key("script", "x")], args=[7]) == 7
        # What has the same tag may go together; what has not may not, in a cluster.
        together = [valkey.key("one", "x"), valkey.key("two", "x", "more")]
        assert await client.mset(dict.fromkeys(together, 1))
        if kind is valkeys.cluster:
            with pytest.raises(RedisClusterException, match="same key slot"):
                await client.execute_command("MSET", *(f"k{n}" for n in range(6)))
        await client.aclose()


# redis-py drops the sockets of a node that left the cluster.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", TWO)
async def test_a_master_killed_is_replaced(kind: Kind) -> None:
    async with kind() as running:
        client = valkey.connect(running.url)
        assert await all_answer(client)
        running.master().kill()
        began = time.monotonic()
        slowest = 0.0
        while not await all_answer(client):
            slowest = max(slowest, time.monotonic() - began)
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.02)
        took = time.monotonic() - began
        print(f"{kind.__name__}: back after {took:.1f} s")
        assert took <= BACK_WITHIN_S
        await client.aclose()


async def all_answer(client: Any) -> bool:
    """Whether keys on every master can be written."""
    try:
        for n in range(30):
            await client.set(valkey.key("each", f"{n}"), n)
    except valkey.GONE:
        return False
    return True


async def test_a_master_demoted_is_left_at_once() -> None:
    """READONLY from the one we are connected to: Sentinel is asked who is the master now."""
    async with valkeys.sentinel() as running:
        client = valkey.connect(running.url)
        assert await all_answer(client)
        before = running.master()
        running.sentinels[0].ask("SENTINEL", "FAILOVER", valkeys.NAME)
        began = time.monotonic()
        others = [node for node in running.nodes if node is not before]
        while not (new := [node for node in others if node.master()]):
            assert time.monotonic() - began < 15
            await asyncio.sleep(0.02)
        began = time.monotonic()
        while not await all_answer(client) or new[0].ask("GET", valkey.key("each", "1")) is None:
            assert time.monotonic() - began < 15
            with suppress(*valkey.GONE):
                await client.delete(valkey.key("each", "1"))
            await asyncio.sleep(0.02)
        assert time.monotonic() - began < BACK_WITHIN_S
        await client.aclose()


async def test_a_lone_replica_is_no_store() -> None:
    """Nothing else answers there: it is as good as gone, not a bug."""
    async with valkeys.single() as running:
        running.start(f"replicaof 127.0.0.1 {running.nodes[0].port}")
        client = valkey.connect(f"redis://127.0.0.1:{running.nodes[1].port}/0")
        with pytest.raises(valkey.GONE):
            await client.set("a", 1)
        await client.aclose()


@pytest.mark.parametrize("kind", [valkeys.single, valkeys.cluster])
async def test_a_cancelled_request_leaves_its_answer_to_nobody(kind: Kind) -> None:
    """Each asks for his own and is cut off at any moment; nobody ever gets another's."""
    chance = random.Random(7)
    async with kind() as running:
        client = valkey.connect(running.url)
        for n in range(50):
            await client.set(valkey.key("mine", f"{n}"), n)

        async def ask(n: int) -> None:
            mine = valkey.key("mine", f"{n}")
            assert int(await client.get(mine)) == n
            pipe = client.pipeline(transaction=False)
            pipe.get(mine)
            pipe.strlen(mine)
            assert await pipe.execute() == [str(n).encode(), len(str(n))]

        wrong: list[BaseException] = []
        cut = 0
        # Until enough were: how many a round cuts off depends on how fast this machine answers.
        deadline = time.monotonic() + 60
        while cut <= 100 and time.monotonic() < deadline:
            tasks = [asyncio.ensure_future(ask(chance.randrange(50))) for _ in range(20)]
            for task in tasks:
                if chance.random() < 0.5:
                    asyncio.get_running_loop().call_later(chance.random() * 0.004, task.cancel)
            for said in await asyncio.gather(*tasks, return_exceptions=True):
                cut += isinstance(said, asyncio.CancelledError)
                if isinstance(said, AssertionError):
                    wrong.append(said)
        assert cut > 100, "it was cut off in the middle"
        assert not wrong
        for n in range(50):
            await ask(n)
        await client.aclose()


async def test_what_is_frozen_is_soon_left_alone() -> None:
    async with valkeys.single() as running:
        client = valkey.connect(running.url)
        await client.set("a", 1)
        running.nodes[0].freeze()
        for _ in range(FAILURES):
            began = time.monotonic()
            with pytest.raises(valkey.GONE):
                await client.get("a")
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(valkey.Unavailable):
                await client.get("a")
        assert time.monotonic() - began < PAUSE_S, "fifty did not wait"
        running.nodes[0].thaw()
        await asyncio.sleep(PAUSE_S + 0.1)
        assert await client.get("a") == b"1"
        await client.aclose()


def test_an_open_breaker_lets_one_through() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES):
        assert breaker.lets_through()
        breaker.failed()
    assert not breaker.lets_through()
    now = PAUSE_S + 0.01
    assert breaker.lets_through()
    assert not breaker.lets_through()
    breaker.answered()
    assert breaker.lets_through()


async def test_with_tls(tmp_path: Path) -> None:
    """The embedded server has none: a proxy has, as a managed service's front does."""
    made = certificate.make(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    async with valkeys.single() as running:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner = await asyncio.open_connection("127.0.0.1", running.nodes[0].port)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                with suppress(OSError):
                    while data := await source.read(65_536):
                        sink.write(data)
                        await sink.drain()
                sink.close()

            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server:
            client = valkey.connect(f"rediss://localhost:{port}/0?ssl_ca_certs={made.certificate}")
            assert await client.set("a", 1)
            await client.aclose()
            stranger = valkey.connect(f"rediss://localhost:{port}/0")
            with pytest.raises(valkey.GONE):
                await stranger.get("a")
            await stranger.aclose()


@dataclass(frozen=True, slots=True)
class Shopfront:
    """A shop on a primary with a replica, to be served with any Valkey."""

    primary: engine.Server
    replica: engine.Server
    shop: Shop


@pytest.fixture(scope="module")
async def front() -> AsyncGenerator[Shopfront]:
    program = engine.program()
    with engine.server(program, more=replicas.PRIMARY) as primary:
        await engine.make_template(primary)
        with replicas.replica(program, primary, "replica_1") as copy:
            owner = await connect(primary.url("florin_owner", "florin_template"), name="tests")
            database = Database(primary.url("florin_app", "florin_template"))
            await database.open()
            shop = await make_shop(owner, database)
            await database.close()
            await owner.close()
            yield Shopfront(primary, copy, shop)


@pytest.mark.parametrize("kind", TWO)
async def test_no_money_request_fails_when_a_master_is_killed(kind: Kind, front: Shopfront) -> None:
    """And when all of it is killed: what is kept there can be done without."""
    async with kind() as running:
        with instance(
            front.primary.url("florin_app", "florin_template"),
            DATABASE_URL_REPLICA=front.replica.url("florin_app", "florin_template"),
            REDIS_URL=running.url,
        ) as api:
            async with httpx.AsyncClient(
                base_url=f"{api.base}/api/v1", headers=front.shop.headers, timeout=30
            ) as http:
                await asyncio.sleep(1)
                name = f"{kind.__name__} {time.time()}"
                sold = await http.post(
                    "/cards",
                    json={"program": front.shop.program, "amount": 100_000},
                    headers={"Idempotency-Key": name},
                )
                card = sold.json()["id"]
                failed: list[str] = []
                spent = 0

                async def spend(until: float) -> None:
                    nonlocal spent
                    while time.monotonic() < until:
                        spent += 1
                        said = await http.post(
                            "/redemptions",
                            json={"card": card, "amount": 1, "currency": "EUR"},
                            headers={"Idempotency-Key": f"{name} {spent}"},
                        )
                        if said.status_code != 201:
                            failed.append(said.text)
                        listed = await http.get(f"/cards/{card}/entries", params={"limit": 1})
                        if listed.status_code != 200:
                            failed.append(listed.text)
                        elif listed.json()["data"][0]["balance_after"] > said.json()["balance"]:
                            failed.append("stale")

                await spend(time.monotonic() + 0.5)
                running.master().kill()
                await asyncio.gather(*(spend(time.monotonic() + 4) for _ in range(3)))
                for node in (*running.sentinels, *running.nodes):
                    node.kill()
                before = spent
                await asyncio.gather(*(spend(time.monotonic() + 1.5) for _ in range(3)))
                assert spent > before + 3, "it goes on without any of it"
                assert failed == []
                proof = await http.get("/ledger/proof")
                assert proof.json()["balanced"] is True
                print(f"{kind.__name__}: {spent} money requests, {len(failed)} failed")
