"""Lag: bytes and seconds between the primary's log and a replica's replay."""

from typing import Any

import pytest

from florin.ops.postgres.replication_lag import ReplicationLag, format_lag, lag_of


@pytest.mark.parametrize(
    ("written", "row", "lag", "words"),
    [
        (
            100,
            {"lsn": 100, "age": 3600.0},
            ReplicationLag(0, 0.0),
            "0 B, 0.0 s",
        ),  # the primary wrote nothing since
        (100, {"lsn": 120, "age": 0.1}, ReplicationLag(0, 0.0), "0 B, 0.0 s"),
        (5000, {"lsn": 904, "age": 1.25}, ReplicationLag(4096, 1.25), "4 KB, 1.2 s"),
        (3 * 2**20, {"lsn": 0, "age": -0.1}, ReplicationLag(3 * 2**20, 0.0), "3 MB, 0.0 s"),
        (500, {"lsn": 0, "age": None}, ReplicationLag(500, None), "500 B, ? s"),
        (
            None,
            {"lsn": 7, "age": 9.0},
            ReplicationLag(None, 9.0),
            "?, 9.0 s",
        ),  # the primary is down
        (100, None, ReplicationLag(None, None), "?, ? s"),
    ],
)
def test_lag_in_bytes_and_seconds(
    written: int | None, row: Any, lag: ReplicationLag, words: str
) -> None:
    assert lag_of(written, row) == lag
    assert format_lag(lag) == words


def test_a_part_that_is_no_replica_has_no_lag() -> None:
    assert format_lag(None) == ""
