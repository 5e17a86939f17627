"""The application's rights in Valkey: exactly the commands that Florin uses."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError, RedisError

from florin.kit.rate_limits.limiter import Limit, RateLimiter
from florin.kit.replicas import consistency_tokens
from florin.kit.replicas.consistency_tokens import ConsistencyTokens
from florin.kit.valkey import notifications
from florin.kit.valkey.notifications import Notifier
from florin.ops.valkey.users import RIGHTS
from tests.ops.conftest import TestFleet
from tests.support import valkey_topologies
from tests.support.valkey_clients import allow_long_answers, valkey_client
from tests.support.valkey_topologies import Valkeys

Kind = Callable[[], AbstractAsyncContextManager[Valkeys]]
KINDS: list[Kind] = [
    valkey_topologies.single,
    valkey_topologies.sentinel,
    valkey_topologies.cluster,
]
WITHIN_S = 60
FIVE = Limit("five", 5)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_long_answers(monkeypatch)


async def position() -> str:
    return "1.10"


async def heard(client: Any, other: Any) -> None:
    one, two = Notifier(client), Notifier(other)
    two.start()
    try:
        waiting = asyncio.ensure_future(two.wait())
        async with asyncio.timeout(WITHIN_S):
            while not waiting.done():
                one.notify_all()
                await asyncio.sleep(0.05)
    finally:
        await one.stop()
        await two.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_the_application_needs_no_other_right(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY_S", "LOOK_EVERY_WOKEN_S"):
        monkeypatch.setattr(notifications, name, 3600.0)
    monkeypatch.setattr(consistency_tokens, "MEMBERS_MAX", 2)
    async with (
        kind() as running,
        valkey_client(running.app_url) as client,
        valkey_client(running.app_url) as other,
    ):
        limits = RateLimiter(client, patience_s=WITHIN_S)
        for n in range(20):  # a key on every master of a cluster
            await limits.count((FIVE, f"{n}"), times=9)
            assert await RateLimiter(other, patience_s=WITHIN_S).blocked((FIVE, f"{n}"), sure=True)
            await limits.forgive(FIVE, f"{n}")
        tokens = ConsistencyTokens(client, position)
        names = [f"name {n}" for n in range(300)]  # some sets grow too large and are cut
        for name in names:
            assert await tokens.record([name], 7)
        assert (
            await tokens.required_positions(names) is None
        )  # a new connection is not authenticated yet
        assert await tokens.required_positions(names) == 16
        await heard(client, other)
        for node in running.nodes:
            assert node.ask("ACL", "LOG") == [], "the product was refused a command"


REFUSED = (
    ("SET", "other", "1"),
    ("GET", "other"),
    ("PUBLISH", "other", "word"),
    ("EVAL", "return redis.call('set', 'other', '1')", "0"),
    ("EVAL", "return redis.call('keys', '*')", "0"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "."),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "app", "+@all"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MODULE", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLUSTER", "RESET"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
)


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_the_application_is_refused_all_else(server: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(RedisError) as said:
        server.execute_command(*words)
    refused = isinstance(said.value, NoPermissionError) or "ACL" in str(said.value)
    assert refused or "can't access" in str(said.value), said.value


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    running = Valkeys()
    try:
        node = running.start("")
        client: Any = redis.Redis
        with client(port=node.port, protocol=2, username="app", password="app") as made:
            yield made
    finally:
        running.stop()


def test_the_page_names_these_rights() -> None:
    page = Path(__file__).parents[3] / "docs" / "operations" / "redis.md"
    assert f">PASSWORD {RIGHTS}`" in " ".join(page.read_text("utf-8").split())


def test_a_server_that_runs_with_other_rights_is_replaced(fleet: TestFleet) -> None:
    """As after a release whose only user had all rights."""
    child = fleet.up()
    before = fleet.processes()
    fleet.kill_supervisor(child)
    part = fleet.part("valkey-1")
    fleet.home.write_fleet(fleet.home.fleet().having(replace(part, wiring="")))
    child = fleet.up()
    after = fleet.processes()
    assert {name for name in before if before[name] != after[name]} == {"valkey-1"}
    fleet.kill_supervisor(child)
    fleet.end(fleet.up())
