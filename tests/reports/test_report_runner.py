"""Reports are bounded: own connections, one for each merchant, a time limit, cached answers."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from florin.kit.errors import Overloaded
from florin.kit.postgres.database import Database, open_connection
from florin.kit.replicas.routing import ReplicaRouter
from florin.ops.postgres import connection_budget
from florin.reports import proof, report_runner
from florin.reports.proof import Proof
from florin.reports.report_runner import REPORT_CONNECTIONS, ReportRunner
from tests.conftest import Urls
from tests.support.api_calls import issue, read
from tests.support.instance import Shop

_LOCK = 77
# Like the proof, but it waits while the test holds a lock.
_WAITS = (
    "select count(*) as cards, 0 as entries, 0 as open_holds, '[]' as differences,"
    " clock_timestamp() as checked_at, $1::uuid as merchant"
    " from (select pg_advisory_lock_shared(77), pg_advisory_unlock_shared(77)) l"
)
_ONE, _OTHER, _THIRD = (uuid.uuid4() for _ in range(3))


@pytest.fixture
async def reports(urls: Urls) -> AsyncGenerator[ReportRunner]:
    made = ReportRunner(urls.app, name="tests")
    await made.open()
    try:
        yield made
    finally:
        made.database.terminate()


@pytest.fixture
def waiting_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_PROOF", _WAITS)


async def waiters(owner: Any) -> int:
    return await owner.fetchval(
        "select count(*) from pg_locks where locktype = 'advisory' and objid = $1 and not granted",
        _LOCK,
    )


async def until_waiting(owner: Any, count: int) -> None:
    async with asyncio.timeout(60):
        while await waiters(owner) < count:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def begin(reports: ReportRunner, merchant: uuid.UUID) -> asyncio.Task[Proof]:
    return asyncio.ensure_future(reports.proof(merchant, fresh=True))


@pytest.mark.usefixtures("waiting_proofs")
async def test_a_merchant_has_one_report_at_a_time_and_leaves_room_for_another(
    reports: ReportRunner, owner: Any
) -> None:
    await owner.execute(f"select pg_advisory_lock({_LOCK})")
    first = [begin(reports, _ONE) for _ in range(20)]
    await until_waiting(owner, 1)
    other = begin(reports, _OTHER)
    await until_waiting(owner, 2)  # another merchant does not wait for the twenty
    third = begin(reports, _THIRD)
    await asyncio.sleep(0.2)
    assert await waiters(owner) == REPORT_CONNECTIONS == 2
    open_now = await owner.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'tests reports'"
    )
    assert open_now == REPORT_CONNECTIONS
    await owner.execute(f"select pg_advisory_unlock({_LOCK})")
    found = await asyncio.gather(*first, other, third)
    # The first began before the others were requested; one more covers all of them.
    assert len({each.checked_at for each in found[:20]}) == 2


@pytest.mark.usefixtures("waiting_proofs")
async def test_a_report_that_takes_too_long_is_ended(
    urls: Urls, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_runner, "REPORT_WITHIN_S", 0.2)
    reports = ReportRunner(urls.app, name="slow")
    await reports.open()
    await owner.execute(f"select pg_advisory_lock({_LOCK})")
    with pytest.raises(Overloaded, match="takes longer than"):
        await asyncio.wait_for(reports.proof(_ONE, fresh=False), 60)
    assert await waiters(owner) == 0
    await owner.execute(f"select pg_advisory_unlock({_LOCK})")
    assert (await reports.proof(_ONE, fresh=False)).balanced
    await reports.close()


@pytest.mark.usefixtures("waiting_proofs")
async def test_a_report_that_waits_too_long_is_refused(
    reports: ReportRunner, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.execute(f"select pg_advisory_lock({_LOCK})")
    first = begin(reports, _ONE)
    await until_waiting(owner, 1)
    monkeypatch.setattr(report_runner, "TURN_WITHIN_S", 0.05)
    with pytest.raises(Overloaded, match="other reports of this merchant"):
        await reports.proof(_ONE, fresh=False)
    await owner.execute(f"select pg_advisory_unlock({_LOCK})")
    await first
    assert reports._turns == {}  # pyright: ignore[reportPrivateUsage]


async def test_a_proof_is_reused_for_a_moment_unless_a_write_must_be_visible(
    reports: ReportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_runner, "PROOF_KEPT_S", 3600)
    merchant = uuid.uuid4()
    first = await reports.proof(merchant, fresh=False)
    assert await reports.proof(merchant, fresh=False) is first
    again = await reports.proof(merchant, fresh=True)
    assert again is not first
    assert await reports.proof(merchant, fresh=False) is again
    monkeypatch.setattr(report_runner, "PROOF_KEPT_S", 0)
    assert await reports.proof(merchant, fresh=False) is not again
    await reports.proof(uuid.uuid4(), fresh=False)
    # Old proofs are dropped.
    assert merchant not in reports._proofs  # pyright: ignore[reportPrivateUsage]


async def test_the_balances_of_an_instant_are_kept_and_bounded(
    reports: ReportRunner, database: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_runner, "BALANCES_KEPT", 3)
    router = ReplicaRouter(database, [], None)
    now = datetime.now(UTC)

    async def ask(seconds: int, merchant: uuid.UUID = shop.merchant) -> Any:
        as_of = now - timedelta(seconds=seconds)
        return await reports.balances(router.reader("tests"), merchant, as_of=as_of, currency=None)

    kept = await ask(1)
    assert await ask(1) is kept
    assert await ask(2) is not kept
    for seconds in range(3, 9):
        await ask(seconds)
    assert len(reports._balances) == 3  # pyright: ignore[reportPrivateUsage]
    assert await ask(1) is not kept
    latest = [
        await reports.balances(router.reader("tests"), shop.merchant, as_of=None, currency=None)
        for _ in range(2)
    ]
    assert latest[0] is not latest[1]  # a caller sees its own write


async def test_the_routes_of_reports_use_the_connections_of_reports(
    http: httpx.AsyncClient, shop: Shop, urls: Urls
) -> None:
    await issue(http, shop, 100)
    superuser = await open_connection(
        urls.superuser, name="tests"
    )  # only a superuser sees the statements of other roles
    for path, words in (
        ("/ledger/proof", "with entry as materialized"),
        ("/ledger/balances", "select account::text, sum(change)"),
    ):
        await read(http, path)
        names = await superuser.fetch(
            "select application_name as name from pg_stat_activity"
            " where datname = current_database() and position($1 in query) > 0"
            " and pid <> pg_backend_pid()",
            words,
        )
        assert {each["name"] for each in names} == {"florin api reports"}, path
    await superuser.close()


def test_the_budget_counts_them() -> None:
    assert connection_budget.REPORTS == REPORT_CONNECTIONS
