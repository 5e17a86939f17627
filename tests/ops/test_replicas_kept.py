"""Replicas stay as many as were asked for, and the primary whoever it is."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.ops.conftest import until
from tests.ops.replicated import Fleet, running

from florin.ops import secrets
from florin.ops.engines.members import names
from florin.ops.engines.postgres import SUPERUSER, url_of
from florin.ops.engines.session import session
from florin.ops.observe import observe


@pytest.mark.parametrize(
    ("replicas", "primary", "members"),
    [
        (0, "postgres-1", ("postgres-1",)),
        (2, "postgres-1", ("postgres-1", "postgres-2", "postgres-3")),
        (2, "postgres-2", ("postgres-1", "postgres-2", "postgres-3")),
        (1, "postgres-3", ("postgres-1", "postgres-3")),
        (0, "postgres-3", ("postgres-3",)),
    ],
)
def test_who_is_a_member(replicas: int, primary: str, members: tuple[str, ...]) -> None:
    assert names(replicas, primary) == members


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("failover")) as made:
        yield made


async def test_replicas_stay_as_they_were_asked_for(fleet: Fleet) -> None:
    """Down and up without --replicas: as many, the same primary, all that was written."""
    said = await asyncio.to_thread(fleet.florin, "failover", "--to", "postgres-2")
    assert said.returncode == 0, said.stderr
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")
    async with fleet.http() as http:
        load = await fleet.load(http, 0.5)
    await asyncio.to_thread(fleet.again)
    assert fleet.primary().name == "postgres-2"
    await asyncio.to_thread(until, fleet.whole, "all three")
    async with fleet.http() as http:
        await fleet.judge(http, load)


async def test_the_status_shows_how_far_replicas_are_behind(fleet: Fleet) -> None:
    behind, other = (part for part in observe(fleet.home).of("postgres-replica"))
    url = url_of(behind.address or "", SUPERUSER, secrets.read(fleet.home))

    def lags() -> dict[str, Any] | None:
        parts = json.loads(fleet.florin("status", "--json").stdout)["parts"]
        seen = {part["name"]: part["lag"] for part in parts}
        # The other one comes after, sooner or later; this one does not.
        return seen if (seen[other.name]["bytes"] or 0) < 10_000 else None

    async with session(url) as connection:
        await connection.execute("select pg_wal_replay_pause()")
        try:
            async with fleet.http() as http:
                load = await fleet.load(http, 1, least=10)
            seen = await asyncio.to_thread(until, lags, "the other replica to come after")
            table = (await asyncio.to_thread(fleet.florin, "status")).stdout
        finally:
            await connection.execute("select pg_wal_replay_resume()")
    assert load.failed == []
    assert seen[behind.name]["bytes"] > 10_000
    assert seen[behind.name]["seconds"] >= 1
    assert seen[fleet.primary().name] is None
    assert seen["api-1"] is None
    assert "LAG" in table
    line = next(line for line in table.splitlines() if line.startswith(behind.name))
    assert re.search(r"\d+ [KM]B, \d+\.\d s", line)


async def test_fewer_replicas_leave_the_primary(fleet: Fleet) -> None:
    before = fleet.primary().name
    assert before != "postgres-1"
    async with fleet.http() as http:
        load = await fleet.load(http, 0.5)
    await asyncio.to_thread(fleet.again, "--replicas", "0")
    parts = [part for part in observe(fleet.home).parts if part.name.startswith("postgres")]
    assert [part.name for part in parts if part.process] == [before]
    async with fleet.http() as http:
        await fleet.judge(http, load)
