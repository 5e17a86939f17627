"""Balancing: the distribution of each algorithm, and switching between them under load."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from florin.ops.fleet.model import ALGORITHMS, Algorithm
from tests.ops.haproxy.haproxy_process import Running, client, running
from tests.ops.haproxy.stub_instances import StandIn, standins

CLIENTS = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(200)]


async def _who(http: httpx.AsyncClient, **headers: str) -> str:
    answer = await http.get("/cards", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["name"]


async def _admit_all(run: Running, fleet: dict[str, StandIn]) -> None:
    for name, each in fleet.items():
        await run.balancer.admit(name, each.address)


async def _of_each_client(run: Running) -> dict[str, str]:
    """Return the instance that answers each of 200 clients with different addresses."""
    found: dict[str, str] = {}
    for address in CLIENTS:
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=False)
        async with client(run.base, transport=transport) as http:
            found[address] = await _who(http)
    return found


async def test_round_robin_distributes_requests_evenly(tmp_path: Path) -> None:
    async with standins("a", "b", "c") as fleet, running(tmp_path) as run:
        await _admit_all(run, fleet)
        async with client(run.base) as http:
            counts = Counter([await _who(http) for _ in range(300)])
        assert max(counts.values()) - min(counts.values()) <= 2, counts
        assert set(counts) == {"a", "b", "c"}


async def test_least_connections_sends_less_to_a_slow_instance(tmp_path: Path) -> None:
    async with standins("a", "b", "c") as fleet, running(tmp_path) as run:
        await _admit_all(run, fleet)
        await run.balancer.switch("leastconn")
        fleet["c"].answering.clear()  # as slow as can be: not before all is over
        counts: Counter[str] = Counter()

        async def drive(http: httpx.AsyncClient) -> None:
            while counts.total() < 200:
                counts[await _who(http)] += 1
            fleet["c"].answering.set()

        async with client(run.base) as http:
            await asyncio.gather(*(drive(http) for _ in range(6)))
        assert 1 <= counts["c"] <= 3, counts
        assert min(counts["a"], counts["b"]) > counts.total() / 3, counts


async def test_ip_hash_moves_only_clients_of_a_removed_instance(tmp_path: Path) -> None:
    async with standins("a", "b", "c", "d") as fleet, running(tmp_path) as run:
        await _admit_all(run, fleet)
        await run.balancer.switch("iphash")
        before = await _of_each_client(run)
        shares = Counter(before.values())
        assert min(shares.values()) > 15, shares
        assert await _of_each_client(run) == before
        await run.balancer.drain("d")
        after = await _of_each_client(run)
        moved = {address for address in CLIENTS if before[address] != after[address]}
        assert moved == {address for address in CLIENTS if before[address] == "d"}
        await run.balancer.ready("d")
        assert await _of_each_client(run) == before


async def test_a_forged_source_has_no_effect(tmp_path: Path) -> None:
    async with standins("a", "b", "c") as fleet, running(tmp_path) as run:
        await _admit_all(run, fleet)
        await run.balancer.switch("iphash")
        async with client(run.base) as http:
            forged = {f"10.1.{n}.1" for n in range(40)}
            assert len({await _who(http, **{"x-forwarded-for": each}) for each in forged}) == 1
            answer = await http.get("/cards", headers={"x-forwarded-for": "10.1.1.1"})
        assert answer.json()["headers"]["x-forwarded-for"] == "127.0.0.1"


async def test_only_a_trusted_proxy_can_name_its_client(tmp_path: Path) -> None:
    trusted = ("127.0.0.0/8", "192.0.2.0/24")
    async with (
        standins("a", "b", "c") as fleet,
        running(tmp_path, trusted=trusted) as run,
    ):
        await _admit_all(run, fleet)
        await run.balancer.switch("iphash")
        async with client(run.base) as http:

            async def forwarded_for(said: str) -> str:
                answer = await http.get("/cards", headers={"x-forwarded-for": said})
                return answer.json()["headers"]["x-forwarded-for"]

            clients = [f"10.1.{n}.1" for n in range(40)]
            homes = {each: await _who(http, **{"x-forwarded-for": each}) for each in clients}
            assert set(homes.values()) == {"a", "b", "c"}
            # Addresses that the client sent are to the left of the one that the proxy saw.
            for each in clients:
                assert await _who(http, **{"x-forwarded-for": f"1.2.3.4, {each}"}) == homes[each]
            assert await forwarded_for("1.2.3.4, 10.1.1.1") == "10.1.1.1"
            assert await forwarded_for("1.2.3.4, 10.1.1.1, 192.0.2.7") == "10.1.1.1"
            assert await forwarded_for("rubbish") == "127.0.0.1"


@pytest.mark.parametrize("last", ["leastconn", "roundrobin"])
async def test_switching_the_algorithm_under_load_fails_no_request(
    tmp_path: Path, last: Algorithm
) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await _admit_all(run, fleet)
        done = asyncio.Event()
        answered = 0

        async def drive() -> None:
            nonlocal answered
            async with client(run.base) as http:
                while not done.is_set():
                    await _who(http)
                    answered += 1

        load = [asyncio.ensure_future(drive()) for _ in range(4)]
        try:
            for algorithm in (*ALGORITHMS[1:], ALGORITHMS[0]) * 5 + (last,):
                await run.balancer.switch(algorithm)
                so_far = answered
                async with asyncio.timeout(60):
                    while answered <= so_far + len(load):
                        assert not any(each.done() for each in load)
                        await asyncio.sleep(0.01)
        finally:
            done.set()
            await asyncio.gather(*load)
        assert run.balancer.facts().algorithm == last
        async with client(run.operator) as http:
            text = (await http.get("/metrics")).text
        counts = {name: _requests(text, name) for name in ALGORITHMS}
        assert all(counts.values()), counts


def _requests(text: str, backend: str) -> float:
    label = f'haproxy_backend_http_requests_total{{proxy="{backend}"}} '
    return next(
        float(line.removeprefix(label)) for line in text.splitlines() if line.startswith(label)
    )
