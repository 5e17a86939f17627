"""What the benchmarks of replicas and failover conclude, from logs written by hand."""

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
        ([10.0625, 12.5, 12.75], 2.5),  # what still ran answered once more
        ([10.5, 11.0, 14.0], 4.0),
        ([10.25, 10.5, 11.25, 14.0], 1.25),  # a later silence is another matter
    ],
)
def test_when_writes_succeed_again(answered: list[float], seconds: float) -> None:
    log = [redeem(at - 0.1, n) for n, at in enumerate(answered)]
    log.append(redeem(10.7, 99, status=503))
    assert failover_report.write_gap_s(log, 10.0) == pytest.approx(seconds)


def test_percentiles_are_times_that_were_measured() -> None:
    times = [float(n) for n in range(1, 21)]
    assert [failover_report.percentile(times, each) for each in (50, 95, 100)] == [10.0, 19.0, 20.0]
    assert failover_report.percentile([7.0], 95) == 7.0


@pytest.mark.parametrize(
    ("books", "lost", "doubled"),
    [
        ([RecordedRedemption("red_1", 2, "k1"), RecordedRedemption("red_2", 2, "k2")], 0, 0),
        ([RecordedRedemption("red_1", 2, "k1")], 1, 0),
        (
            [RecordedRedemption("red_1", 2, "k1"), RecordedRedemption("red_2", 1, "k2")],
            1,
            0,
        ),  # another amount
        (
            [RecordedRedemption(f"red_{n}", 2, f"k{n}") for n in (1, 2, 3)],
            0,
            0,
        ),  # the unknown one happened
        (
            [RecordedRedemption(f"red_{n}", 2, f"k{n}") for n in (1, 2, 4)],
            0,
            1,
        ),  # the refused one did, too
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
def test_what_was_lost_and_what_doubled(
    books: list[RecordedRedemption], lost: int, doubled: int
) -> None:
    log = [redeem(0, 1), redeem(1, 2), redeem(2, 3, status=503), redeem(3, 4, status=402)]
    found = acknowledged_writes.check_acknowledged(log, books)
    assert found == AcknowledgedCheck(acknowledged=2, lost=lost, doubled=doubled, unknown=1)


def test_two_answers_for_one_redemption_are_a_loss() -> None:
    log = [redeem(0, 1), redeem(1, 1)]
    assert (
        acknowledged_writes.check_acknowledged(log, [RecordedRedemption("red_1", 2, "k1")]).lost
        == 1
    )


async def test_a_stale_read_is_found() -> None:
    answers = iter([3, 2, None, 3, 4, 1])

    async def write(_name: str) -> int | None:
        return 0

    async def read(_name: str) -> int | None:
        return next(answers)

    chance = random.Random(1)
    chance.random = lambda: 1.0
    found = await read_your_writes.run_callers(["a"], write, read, reads=6, chance=chance)
    assert found.stale == ["a read 2 after 3", "a read 1 after 4"]
    assert (found.reads, found.writes, found.failures) == (6, 0, 1)


def test_what_was_asked_is_read_from_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "|LOG:  database system is ready to accept read-only connections\n"
        "florin api-1|LOG:  execute __asyncpg_1__: select 'a' || 'b'\n"
        "\tfrom florin.transfer\n"
        "florin api-1|DETAIL:  Parameters: $1 = 'x'\n"
        "florin api-2|LOG:  execute __asyncpg_2__: \n"
        "\tselect * from florin.post($1)\n"
        "florin api-2|ERROR:  canceling statement\n"
        "\tof somebody\n"
        "florin api-2|LOG:  statement: BEGIN;\n",
        "utf-8",
    )
    assert list(statement_log.read_statements(log)) == [
        ("florin api-1", "select 'a' || 'b' from florin.transfer"),
        ("florin api-2", "select * from florin.post($1)"),
        ("florin api-2", "BEGIN;"),
    ]


def test_who_answered_what_replicas_may() -> None:
    list_, look = "select 1 from florin.transfer", "select pg_last_wal_replay_lsn()"
    post = "select * from florin.post($1)"
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
def test_what_is_never_asked_of_a_replica(statement: str, *, decides: bool) -> None:
    assert statement_log.is_decision(statement) is decides
