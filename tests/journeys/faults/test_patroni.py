"""Florin unchanged on a Patroni cluster: its leader is lost, and switched, in the middle of a load.

Takes a minute, so it runs only when asked for:
`bin/test tests/journeys/faults/test_patroni.py --patroni`
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest

from tests.journeys.faults import accounts, patroni
from tests.journeys.faults.clients import opened
from tests.journeys.faults.tills import Log, working_tills
from tests.support import postgres_server
from tests.support.instance import instance

_TILLS = 8
_BETWEEN = 100
_WITHIN_S = 120


@pytest.fixture(scope="module")
async def cluster(pytestconfig: pytest.Config) -> AsyncGenerator[patroni.Cluster]:
    if not pytestconfig.getoption("--patroni"):
        pytest.skip("takes a minute; --patroni asks for it")
    with ExitStack() as stack:
        made = stack.enter_context(patroni.cluster())
        leader = made.leader()
        assert leader is not None
        assert leader.process is not None
        server = postgres_server.Server(leader.port, leader.folder / "data", leader.process)
        await postgres_server.make_template(server)
        await postgres_server.make_database(server, patroni.DATABASE)
        url = f"{made.url('florin_app')}&connection_limit=6&pool_timeout=20"
        made.instances = [stack.enter_context(instance(url)) for _ in range(2)]
        yield made


async def answered(log: Log, more: int) -> None:
    until = log.answered + more
    async with asyncio.timeout(_WITHIN_S):
        while log.answered < until:  # noqa: ASYNC110 -- the tills only count
            await asyncio.sleep(0.01)


async def test_the_leader_is_lost_and_switched(cluster: patroni.Cluster) -> None:
    seed = secrets.randbelow(10**6)
    async with opened(cluster) as (https, program):
        async with working_tills(https, program, count=_TILLS, seed=seed) as log:
            await answered(log, _BETWEEN)
            await asyncio.to_thread(lose_the_leader, cluster)
            await answered(log, _BETWEEN)
            print(f"lost: {log.summary()}")
            await asyncio.to_thread(switch_the_leader, cluster)
            await answered(log, _BETWEEN)
            print(f"switched: {log.summary()}")
        await accounts.compare(https[0], log)
        await accounts.repeat(https[1], [call for call in log.calls if call.happened][:_BETWEEN])


def lose_the_leader(cluster: patroni.Cluster) -> None:
    """Another node is promoted; the lost one returns as its replica."""
    before = cluster.leader()
    assert before is not None
    cluster.lose(before)
    patroni.until(lambda: cluster.leader() not in (None, before), "another leader", cluster.nodes)
    cluster.start(before)
    patroni.until(cluster.whole, "all three", cluster.nodes)


def switch_the_leader(cluster: patroni.Cluster) -> None:
    leader = cluster.leader()
    assert leader is not None
    standby = next(
        each["application_name"]
        for each in leader.said()["replication"]
        if each["sync_state"] == "sync"
    )
    to = next(node for node in cluster.nodes if node.name == standby)
    cluster.switch(to)
    patroni.until(to.leads, f"{to.name} to lead", cluster.nodes)
    patroni.until(cluster.whole, "all three", cluster.nodes)
