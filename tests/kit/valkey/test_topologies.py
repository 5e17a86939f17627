"""One client for three topologies: it survives the loss of masters, and no payment needs it."""

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

from florin.kit.postgres.database import Database, open_connection
from florin.kit.valkey import client as valkey
from florin.kit.valkey.circuit_breaker import FAILURES, PAUSE_S, CircuitBreaker
from tests.support import certificate, postgres_server, replicas, valkey_topologies
from tests.support.instance import Shop, instance, make_shop
from tests.support.valkey_clients import allow_long_answers, valkey_client

BACK_WITHIN_S = 60.0  # on a shared machine; it takes seconds, and is printed
Kind = Callable[[], AbstractAsyncContextManager[valkey_topologies.Valkeys]]
TWO: list[Kind] = [valkey_topologies.sentinel, valkey_topologies.cluster]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_long_answers(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", [valkey_topologies.single, *TWO])
async def test_every_topology_runs_the_same_code(kind: Kind) -> None:
    async with kind() as running, valkey_client(running.url) as client:
        pipe = client.pipeline(transaction=False)
        for n in range(50):
            pipe.set(valkey.valkey_key("test", f"{n}"), n)
        assert await pipe.execute() == [True] * 50
        for n in range(50):
            assert await client.get(valkey.valkey_key("test", f"{n}")) == str(n).encode()
        script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
        assert await script(keys=[valkey.valkey_key("script", "x")], args=[7]) == 7
        # In a cluster, only keys with the same tag may be used in one command.
        together = [valkey.valkey_key("one", "x"), valkey.valkey_key("two", "x", "more")]
        assert await client.mset(dict.fromkeys(together, 1))
        if kind is valkey_topologies.cluster:
            with pytest.raises(RedisClusterException, match="same key slot"):
                await client.execute_command("MSET", *(f"k{n}" for n in range(6)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", TWO)
async def test_a_killed_master_is_replaced(kind: Kind) -> None:
    async with kind() as running, valkey_client(running.url) as client:
        await until_all_answer(client)
        running.master().kill()
        print(f"{kind.__name__}: back after {await until_all_answer(client):.1f} s")


async def until_all_answer(client: Any) -> float:
    """Wait; return the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(BACK_WITHIN_S):
        while not await all_answer(client):  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def all_answer(client: Any) -> bool:
    """Whether keys on every master can be written."""
    try:
        for n in range(30):
            await client.set(valkey.valkey_key("each", f"{n}"), n)
    except valkey.GONE:
        return False
    return True


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_demoted_master_is_abandoned_at_once() -> None:
    """On READONLY from a demoted master, the client asks Sentinel for the new one."""
    async with valkey_topologies.sentinel() as running, valkey_client(running.url) as client:
        await until_all_answer(client)
        before = running.master()
        running.sentinels[0].ask("SENTINEL", "FAILOVER", valkey_topologies.NAME)
        others = [node for node in running.nodes if node is not before]
        async with asyncio.timeout(BACK_WITHIN_S):
            while not (new := [node for node in others if node.master()]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            one = valkey.valkey_key("each", "1")
            while not await all_answer(client) or new[0].ask("GET", one) is None:
                with suppress(*valkey.GONE):
                    await client.delete(one)
                await asyncio.sleep(0.02)


async def test_a_lone_replica_counts_as_unavailable() -> None:
    """A lone replica counts as unavailable, not as a bug."""
    async with valkey_topologies.single() as running:
        running.start(f"replicaof 127.0.0.1 {running.nodes[0].port}")
        async with valkey_client(f"redis://127.0.0.1:{running.nodes[1].port}/0") as client:
            with pytest.raises(valkey.GONE):
                await client.set("a", 1)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
        b"-ERR any other error\r\n",
    ],
    ids=["another server", "a full disk", "a refusal"],
)
async def test_an_unexpected_answer_counts_as_unavailable(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(answer * 4)
            with suppress(ConnectionError):
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = valkey.connect_valkey(f"redis://127.0.0.1:{port}/0")
        try:
            with pytest.raises(valkey.GONE):
                await client.set("a", 1)
            pipe = client.pipeline(transaction=False)
            pipe.zadd("b", {"c": 1})
            with pytest.raises(valkey.GONE):
                await pipe.execute()
        finally:
            await client.aclose()


@pytest.mark.parametrize("kind", [valkey_topologies.single, valkey_topologies.cluster])
async def test_the_answer_of_a_cancelled_request_is_discarded(kind: Kind) -> None:
    """Tasks read their own keys and are cancelled at any moment; none gets another's answer."""
    chance = random.Random(7)
    async with kind() as running, valkey_client(running.url) as client:
        for n in range(50):
            await client.set(valkey.valkey_key("mine", f"{n}"), n)

        async def ask(n: int) -> None:
            mine = valkey.valkey_key("mine", f"{n}")
            assert int(await client.get(mine)) == n
            pipe = client.pipeline(transaction=False)
            pipe.get(mine)
            pipe.strlen(mine)
            assert await pipe.execute() == [str(n).encode(), len(str(n))]

        wrong: list[BaseException] = []
        cut = 0
        # Until enough were cancelled: how many a round cancels depends on the speed of the machine.
        deadline = time.monotonic() + 120
        while cut <= 100 and time.monotonic() < deadline:
            tasks = [asyncio.ensure_future(ask(chance.randrange(50))) for _ in range(20)]
            for task in tasks:
                if chance.random() < 0.5:
                    asyncio.get_running_loop().call_later(chance.random() * 0.004, task.cancel)
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                cut += isinstance(outcome, asyncio.CancelledError)
                if isinstance(outcome, AssertionError):
                    wrong.append(outcome)
        assert cut > 100, "it was cut off in the middle"
        assert not wrong
        for n in range(50):
            await ask(n)


async def test_a_frozen_server_is_soon_bypassed() -> None:
    async with valkey_topologies.single() as running, valkey_client(running.url) as client:
        await until_all_answer(client)
        running.nodes[0].freeze()
        try:
            for _ in range(FAILURES):
                with pytest.raises(valkey.GONE):
                    await client.get("a")
            began, left_alone = time.monotonic(), 0
            for _ in range(50):
                with pytest.raises(valkey.GONE) as refused:
                    await client.get("a")
                left_alone += isinstance(refused.value, valkey.Unavailable)
            # One request is let through in each pause, and no other waits.
            assert left_alone >= 49 - (time.monotonic() - began) / PAUSE_S
        finally:
            running.nodes[0].thaw()
        await asyncio.sleep(PAUSE_S)
        assert await until_all_answer(client) < BACK_WITHIN_S


def test_an_open_breaker_admits_one_request() -> None:
    now = 0.0
    breaker = CircuitBreaker(lambda: now)
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.record_failure()
    assert not breaker.allows()
    now = PAUSE_S + 0.01
    assert breaker.allows()
    assert not breaker.allows()
    breaker.record_success()
    assert breaker.allows()


@pytest.mark.usefixtures("patient")
async def test_connections_use_tls(tmp_path: Path) -> None:
    """The embedded server has no TLS; a proxy adds it, as managed services do."""
    made = certificate.make(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    async with valkey_topologies.single() as running:

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
            url = f"rediss://localhost:{port}/0"
            async with valkey_client(f"{url}?ssl_ca_certs={made.certificate}") as client:
                assert await client.set("a", 1)
            async with valkey_client(url) as untrusting:
                with pytest.raises(valkey.GONE):
                    await untrusting.get("a")


@dataclass(frozen=True, slots=True)
class Shopfront:
    """A merchant on a primary with a replica, for use with any topology of Valkey."""

    primary: postgres_server.Server
    replica: postgres_server.Server
    shop: Shop


@pytest.fixture(scope="module")
async def front() -> AsyncGenerator[Shopfront]:
    program = postgres_server.program()
    with postgres_server.server(program, more=replicas.PRIMARY) as primary:
        await postgres_server.make_template(primary)
        with replicas.replica(program, primary, "replica_1") as copy:
            owner = await open_connection(
                primary.url("florin_owner", "florin_template"), name="tests"
            )
            database = Database(primary.url("florin_app", "florin_template"))
            await database.open()
            shop = await make_shop(owner, database)
            await database.close()
            await owner.close()
            yield Shopfront(primary, copy, shop)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TWO)
async def test_no_payment_fails_when_a_master_is_killed(kind: Kind, front: Shopfront) -> None:
    """Nor when all of Valkey is killed: nothing that it holds is required."""
    async with kind() as running:
        with instance(
            front.primary.url("florin_app", "florin_template"),
            DATABASE_URL_REPLICA=front.replica.url("florin_app", "florin_template"),
            REDIS_URL=running.url,
        ) as api:
            async with httpx.AsyncClient(
                base_url=f"{api.base}/api/v1", headers=front.shop.headers, timeout=60
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

                async def spend(seconds: float, least: int = 0) -> None:
                    nonlocal spent
                    until, least = time.monotonic() + seconds, spent + least
                    while time.monotonic() < until or spent < least:
                        spent += 1
                        answer = await http.post(
                            "/redemptions",
                            json={"card": card, "amount": 1, "currency": "EUR"},
                            headers={"Idempotency-Key": f"{name} {spent}"},
                        )
                        if answer.status_code != 201:
                            failed.append(answer.text)
                            continue
                        listed = await http.get(f"/cards/{card}/entries", params={"limit": 1})
                        if listed.status_code != 200:
                            failed.append(listed.text)
                        elif listed.json()["data"][0]["balance_after"] > answer.json()["balance"]:
                            failed.append("stale")

                await spend(0.5, 10)
                running.master().kill()
                await asyncio.gather(*(spend(4, 10) for _ in range(3)))
                for node in (*running.sentinels, *running.nodes):
                    node.kill()
                # Redemptions go on without Valkey.
                await asyncio.gather(*(spend(1.5, 10) for _ in range(3)))
                assert failed == []
                proof = await http.get("/ledger/proof")
                assert proof.json()["balanced"] is True
                print(f"{kind.__name__}: {spent} money requests, {len(failed)} failed")
