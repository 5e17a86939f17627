"""Period sums: what is settled is read once, what comes later is counted, and nothing twice."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from florin.kit.postgres.database import Database, StatementTimeout
from florin.kit.valkey import shared_values
from florin.kit.valkey.shared_values import SharedValues
from florin.reports import period_sums
from florin.reports.period_sums import EntrySum, PeriodSums
from tests.support.valkey_clients import allow_long_answers, valkey_client
from tests.support.valkey_server import memory

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
BEGINS, ENDS = NOON - timedelta(days=11), NOON + timedelta(days=19)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
_SQL = """
select t.location, count(*) as entries, sum(t.amount)::bigint as change from florin.transfer t
where t.merchant = $1 and t.currency = $2 and t.created_at >= $3 and t.created_at < $4 group by 1
"""


class Entries:
    """A merchant's entries, and their sums by location."""

    def __init__(self, owner: Any, database: Database) -> None:
        self.owner = owner
        self.database = database
        self.merchant = uuid.uuid4()
        self.restart(None)

    def restart(self, shared: SharedValues | None) -> None:
        """As an instance that has just started, which shares its sums."""
        self.sums = PeriodSums(self.database, _SQL, ("location",), shared)

    async def add(self, at: datetime, amount: int, location: str = "quay") -> None:
        await self.owner.execute(
            "insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit,"
            " actor, location, created_at) values ($1, gen_random_uuid(), 'receipt', 'EUR', $2,"
            " 'gateway_clearing', 'refunds_pending', 'test', $3, $4)",
            self.merchant,
            amount,
            location,
            at,
        )

    async def read(self, now: datetime | None, ends: datetime = ENDS) -> dict[str, EntrySum]:
        found = await self.sums.between(self.merchant, "EUR", BEGINS, ends, now=now)
        return {location: each for (location,), each in found.items()}


@pytest.fixture
def entries(owner: Any, database: Database) -> Entries:
    return Entries(owner, database)


async def test_the_latest_entries_are_counted_each_time(entries: Entries) -> None:
    await entries.add(BEGINS, 1)
    await entries.add(BEGINS - MINUTE, 100)  # before
    await entries.add(ENDS, 100)  # after
    assert await entries.read(NOON) == {"quay": EntrySum(1, 1)}
    # Within the last hour a transaction may still have been running when the sums were read.
    await entries.add(NOON - HOUR + MINUTE, 2)
    await entries.add(NOON - MINUTE, 4, "square")
    found = {"quay": EntrySum(2, 3), "square": EntrySum(1, 4)}
    assert await entries.read(NOON) == found
    assert await entries.read(NOON + 5 * MINUTE) == found
    for later in (HOUR, HOUR, 3 * HOUR):  # they become settled, and stay counted once
        assert await entries.read(NOON + later) == found
    await entries.add(NOON + 3 * HOUR, 8)
    assert await entries.read(NOON + 3 * HOUR) == {**found, "quay": EntrySum(3, 11)}


async def test_what_is_settled_is_not_read_again(entries: Entries) -> None:
    await entries.add(BEGINS, 1)
    await entries.read(NOON)
    # The ledger adds nothing at such an instant; here it shows what is read.
    await entries.add(NOON - 2 * HOUR, 2)
    assert await entries.read(NOON) == {"quay": EntrySum(1, 1)}
    over = NOON - 90 * MINUTE  # a period that has ended
    assert await entries.read(NOON, over) == {"quay": EntrySum(2, 3)}
    await entries.add(over - MINUTE, 4)
    assert await entries.read(NOON, over) == {"quay": EntrySum(2, 3)}


async def test_a_long_period_is_read_in_parts_that_are_kept(
    entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(period_sums, "_PART", timedelta(days=3))
    reads: list[datetime] = []
    read = entries.sums._read  # pyright: ignore[reportPrivateUsage]

    async def fail_late(*given: Any) -> Any:
        reads.append(given[2])
        if len(reads) == 3:
            raise StatementTimeout
        return await read(*given)

    monkeypatch.setattr(entries.sums, "_read", fail_late)
    for day in range(11):
        await entries.add(BEGINS + timedelta(days=day), 1)
    with pytest.raises(StatementTimeout):
        await entries.read(NOON)
    assert await entries.read(NOON) == {"quay": EntrySum(11, 11)}
    begun = [(each - BEGINS).days for each in reads]
    assert begun == [0, 3, 6, 6, 9, 10]


async def test_nothing_is_kept_where_the_clock_was_moved(entries: Entries) -> None:
    await entries.add(BEGINS, 1)
    assert await entries.read(None) == {"quay": EntrySum(1, 1)}
    await entries.add(NOON - 5 * HOUR, 2)
    assert await entries.read(None) == {"quay": EntrySum(2, 3)}


async def test_what_is_kept_is_bounded(entries: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(period_sums, "_KEPT_GROUPS", 4)
    await entries.add(BEGINS, 1)
    for hour in range(4):
        await entries.read(NOON, NOON - (hour + 2) * HOUR)
    await entries.add(BEGINS, 2)
    assert await entries.read(NOON, NOON - 5 * HOUR) == {"quay": EntrySum(1, 1)}  # kept last
    assert await entries.read(NOON, NOON - 2 * HOUR) == {"quay": EntrySum(2, 3)}  # read anew


async def test_an_instance_that_starts_reads_what_came_since(
    entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_long_answers(monkeypatch)
    monkeypatch.setattr(shared_values, "_PATIENCE_S", 20.0)
    timeline = 1

    async def position() -> str:
        return f"{timeline:x}.0"

    monkeypatch.setattr(entries.database, "position", position)
    with memory() as running:
        async with valkey_client(running.url) as client:
            shared = SharedValues(client, ("secret",), use="sums", kept_s=60)
            entries.restart(shared)
            await entries.add(BEGINS, 1)
            assert await entries.read(NOON) == {"quay": EntrySum(1, 1)}
            # The ledger adds nothing at such an instant; here it shows what is read.
            await entries.add(NOON - 2 * HOUR, 2)
            await entries.add(NOON - MINUTE, 4)
            entries.restart(shared)
            assert await entries.read(NOON) == {"quay": EntrySum(2, 5)}
            await entries.add(NOON + 4 * HOUR, 8)
            entries.restart(shared)
            assert await entries.read(NOON + 6 * HOUR) == {"quay": EntrySum(3, 13)}
            with monkeypatch.context() as elsewhere:  # another cluster, at the same timeline
                elsewhere.setattr(period_sums, "_CLUSTER", "select 1 as system, 'x' as name")
                entries.restart(shared)
                assert await entries.read(NOON + 6 * HOUR) == {"quay": EntrySum(4, 15)}
            entries.restart(shared)
            assert await entries.read(NOON + 6 * HOUR) == {"quay": EntrySum(3, 13)}
            timeline = 2  # after a failover or a restore everything is read again
            entries.restart(shared)
            assert await entries.read(NOON + 6 * HOUR) == {"quay": EntrySum(4, 15)}
            running.kill()
            entries.restart(shared)
            assert await entries.read(NOON + 6 * HOUR) == {"quay": EntrySum(4, 15)}
