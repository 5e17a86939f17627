"""Ledger check: money that appears or vanishes is found, by one instance at a time."""

import asyncio
from typing import Any

import httpx
import pytest

from florin.kit.postgres.database import Database, open_connection
from florin.reports import ledger_check
from florin.reports.ledger_check import LedgerCheck, compare_totals
from tests.conftest import Urls
from tests.ledger import calls
from tests.support.instance import NO_TLS, Instance


async def totals(urls: Urls) -> Any:
    connection = await open_connection(urls.app, name="tests")
    try:
        return await compare_totals(connection)
    finally:
        await connection.close()


@pytest.fixture
async def superuser(urls: Urls) -> Any:
    connection = await open_connection(urls.superuser, name="smuggler")
    yield connection
    await connection.close()


async def metric(api: Instance, name: str) -> float:
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        text = (await http.get(f"{api.operations}/metrics")).text
    [line] = [each for each in text.splitlines() if each.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_a_smuggled_cent_is_found_and_one_that_is_put_back_is_gone(
    owner: Any, urls: Urls, superuser: Any
) -> None:
    _, cards = await calls.make_shop(owner, 3)
    before = await totals(urls)
    assert before.unbalanced == 0
    assert not any(before.differences.values())
    assert before.liability["EUR"] >= 3 * 1000
    change = "update florin.account set balance = balance + $2 where id = $1"
    await superuser.execute("set session_replication_role = replica")  # no trigger objects
    await superuser.execute(change, cards[1], 1)
    wrong = await totals(urls)
    assert (wrong.unbalanced, wrong.differences["EUR"]) == (1, 1)
    assert wrong.liability["EUR"] == before.liability["EUR"] + 1
    await superuser.execute(change, cards[1], -1)
    assert (await totals(urls)).unbalanced == 0


async def test_the_ledger_is_balanced_since_the_first_comparison_after_a_difference(
    owner: Any, urls: Urls, superuser: Any
) -> None:
    async def stored() -> float | None:
        text = "select (totals ->> 'balanced_since')::float8 from florin.ledger_check"
        return await owner.fetchval(text)

    _, cards = await calls.make_shop(owner, 1)
    begun = await owner.fetchval("select extract(epoch from clock_timestamp())::float8")
    await owner.execute("update florin.ledger_check set totals = null")
    await totals(urls)
    first = await stored()
    assert first is not None
    assert first >= begun
    await totals(urls)
    assert await stored() == first
    change = "update florin.account set balance = balance + $2 where id = $1"
    await superuser.execute("set session_replication_role = replica")  # no trigger objects
    await superuser.execute(change, cards[0], 1)
    await totals(urls)
    assert await stored() is None
    await superuser.execute(change, cards[0], -1)
    await totals(urls)
    again = await stored()
    assert again is not None
    assert again > first


async def test_two_merchants_that_differ_in_opposite_ways_are_both_counted(
    owner: Any, urls: Urls, superuser: Any
) -> None:
    _, first = await calls.make_shop(owner, 1)
    _, second = await calls.make_shop(owner, 1)
    await superuser.execute("set session_replication_role = replica")
    change = "update florin.account set balance = balance + $2 where id = $1"
    await superuser.execute(change, first[0], 5)
    await superuser.execute(change, second[0], -5)
    wrong = await totals(urls)
    assert (wrong.unbalanced, wrong.differences["EUR"]) == (2, 10)
    await superuser.execute(change, first[0], -5)
    await superuser.execute(change, second[0], 5)


async def test_one_instance_at_a_time_compares(database: Database, owner: Any) -> None:
    await owner.execute("update florin.ledger_check set due_at = clock_timestamp()")
    checks = [LedgerCheck(database, database, name=f"florin api-{n}") for n in range(8)]
    due = await asyncio.gather(*(each.is_due() for each in checks))
    assert sum(due) == 1
    # The one that died is replaced once its time is over.
    await owner.execute("update florin.ledger_check set due_at = clock_timestamp()")
    assert sum(await asyncio.gather(*(each.is_due() for each in checks))) == 1


async def test_the_pause_grows_with_the_duration(urls: Urls, owner: Any) -> None:
    await totals(urls)
    row = await owner.fetchrow(
        "select extract(epoch from due_at - checked_at)::float8 as pause, seconds, totals"
        " from florin.ledger_check"
    )
    least = max(ledger_check.EVERY_S, ledger_check.PAUSE_FACTOR * row["seconds"])
    assert least - 0.1 <= row["pause"] <= least + 1
    assert row["totals"] is not None


@pytest.mark.slow
async def test_instances_report_it_as_metrics(api: Instance, owner: Any, superuser: Any) -> None:
    _, cards = await calls.make_shop(owner, 1)
    await superuser.execute("set session_replication_role = replica")
    change = "update florin.account set balance = balance + $2 where id = $1"
    await superuser.execute(change, cards[0], 1)
    await reported(api, owner, 1)
    assert await metric(api, "florin_ledger_balanced_since_timestamp_seconds") == 0
    await superuser.execute(change, cards[0], -1)
    await reported(api, owner, 0)
    assert await metric(api, "florin_ledger_checked_timestamp_seconds") > 1e9
    assert await metric(api, "florin_ledger_balanced_since_timestamp_seconds") > 1e9


async def reported(api: Instance, owner: Any, unbalanced: int) -> None:
    await owner.execute("update florin.ledger_check set due_at = clock_timestamp()")
    async with asyncio.timeout(60):
        while await metric(api, "florin_ledger_unbalanced") != unbalanced:  # noqa: ASYNC110 -- HTTP
            await asyncio.sleep(0.2)
