"""The checks of the replicas and failover benchmarks, on logs written by hand."""

import random
from collections import Counter
from math import inf
from pathlib import Path

import pytest

from florin.bench.load.constant_rate import LoggedRequest
from florin.bench.scenarios import read_your_writes
from florin.bench.verify import acknowledged_writes, failover_report, statement_log
from florin.bench.verify.acknowledged_writes import AcknowledgedCheck, RecordedRedemption


def redeem(
    at: float, n: int, *, status: int = 201, seconds: float = 0.1, amount: int = 2
) -> LoggedRequest:
    return LoggedRequest(
        at=at,
        kind="redeem",
        amount=amount,
        seconds=seconds,
        status=status,
        key=f"k{n}",
        made=f"red_{n}" if status == 201 else "",
    )


@pytest.mark.parametrize(
    ("answered", "seconds"),
    [
        ([], inf),
        ([9.5], inf),  # before the loss
        ([12.25], 2.25),
        ([10.0625, 12.5, 12.75], 2.5),  # a remaining process answered once more
        ([10.5, 11.0, 14.0], 4.0),
        ([10.25, 10.5, 11.25, 14.0], 1.25),  # a later gap does not count
    ],
)
def test_write_gap_ends_with_the_first_write_that_succeeds(
    answered: list[float], seconds: float
) -> None:
    log = [redeem(at - 0.1, n) for n, at in enumerate(answered)]
    log.append(redeem(10.7, 99, status=503))
    assert failover_report.write_gap_s(log, 10.0) == pytest.approx(seconds)


def test_percentiles_are_measured_times() -> None:
    times = [float(n) for n in range(1, 21)]
    assert [failover_report.percentile(times, each) for each in (50, 95, 100)] == [10.0, 19.0, 20.0]
    assert failover_report.percentile([7.0], 95) == 7.0


@pytest.mark.parametrize(
    ("recorded", "lost", "doubled"),
    [
        ([RecordedRedemption("red_1", 2, "k1"), RecordedRedemption("red_2", 2, "k2")], 0, 0),
        ([RecordedRedemption("red_1", 2, "k1")], 1, 0),
        (
            [RecordedRedemption("red_1", 2, "k1"), RecordedRedemption("red_2", 1, "k2")],
            1,
            0,
        ),  # a different amount
        (
            [RecordedRedemption(f"red_{n}", 2, f"k{n}") for n in (1, 2, 3)],
            0,
            0,
        ),  # the unknown one happened
        (
            [RecordedRedemption(f"red_{n}", 2, f"k{n}") for n in (1, 2, 4)],
            0,
            1,
        ),  # the refused one happened too
        (
            [
                RecordedRedemption("red_1", 2, "k1"),
                RecordedRedemption("red_2", 2, "k2"),
                RecordedRedemption("x", 2, "k1"),
            ],
            0,
            1,
        ),
        ([RecordedRedemption(n, 2, "k3") for n in ("red_1", "red_2", "red_3", "red_9")], 0, 1),
    ],
)
def test_lost_and_doubled_writes_are_counted(
    recorded: list[RecordedRedemption], lost: int, doubled: int
) -> None:
    log = [redeem(0, 1), redeem(1, 2), redeem(2, 3, status=503), redeem(3, 4, status=402)]
    result = acknowledged_writes.check_acknowledged(log, recorded)
    assert result == AcknowledgedCheck(acknowledged=2, lost=lost, doubled=doubled, unknown=1)


def test_two_acknowledgements_of_one_redemption_count_as_a_loss() -> None:
    log = [redeem(0, 1), redeem(1, 1)]
    assert (
        acknowledged_writes.check_acknowledged(log, [RecordedRedemption("red_1", 2, "k1")]).lost
        == 1
    )


async def test_stale_reads_are_detected() -> None:
    answers = iter([3, 2, None, 3, 4, 1])

    async def write(_name: str) -> int | None:
        return 0

    async def read(_name: str) -> int | None:
        return next(answers)

    chance = random.Random(1)
    chance.random = lambda: 1.0
    result = await read_your_writes.run_callers(["a"], write, read, reads=6, chance=chance)
    assert result.stale == ["a read 2 after 3", "a read 1 after 4"]
    assert (result.reads, result.writes, result.failures) == (6, 0, 1)


def test_statements_are_read_from_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "|LOG:  database system is ready to accept read-only connections\n"
        "florin api-1|LOG:  execute __asyncpg_1__: select 'a' || 'b'\n"
        "\tfrom florin.transfer\n"
        "florin api-1|DETAIL:  Parameters: $1 = 'x'\n"
        "florin api-2|LOG:  execute __asyncpg_2__: \n"
        "\tselect * from post($1)\n"
        "florin api-2|ERROR:  canceling statement\n"
        "\tof a query\n"
        "florin api-2|LOG:  statement: BEGIN;\n",
        "utf-8",
    )
    assert list(statement_log.read_statements(log)) == [
        ("florin api-1", "select 'a' || 'b' from florin.transfer"),
        ("florin api-2", "select * from post($1)"),
        ("florin api-2", "BEGIN;"),
    ]


def test_replica_reads_and_decisions_are_counted_by_server() -> None:
    list_, look = "select 1 from florin.transfer", "select pg_last_wal_replay_lsn()"
    post = "select * from post($1)"
    before = {name: Counter({list_: 5}) for name in "pqr"}
    after = {
        "p": Counter({list_: 7, post: 40, "select 1 from florin.program": 3}),
        "q": Counter({list_: 10, look: 20}),
        "r": Counter({list_: 6, look: 2}),
    }
    servers = statement_log.classify_statements("p", before, after)
    assert {name: each.reads for name, each in servers.items()} == {"p": 2, "q": 5, "r": 1}
    assert {name: each.decisions for name, each in servers.items()} == {"p": 40, "q": 0, "r": 0}
    assert statement_log.replica_share("p", servers) == 0.75
    after["r"][post] += 1
    assert statement_log.classify_statements("p", before, after)["r"].decisions == 1


@pytest.mark.parametrize(
    ("statement", "decides"),
    [
        ("select t.* from florin.transfer t", False),
        ("with recursive x as (select 1) select * from x", False),
        ("select merchant from florin.api_key", True),
        ("SELECT 1 FROM florin.account FOR UPDATE", True),
        ("update florin.heartbeat set at = now()", True),
        ("BEGIN;", True),
    ],
)
def test_statements_that_decide_are_recognised(statement: str, *, decides: bool) -> None:
    assert statement_log.is_decision(statement) is decides
