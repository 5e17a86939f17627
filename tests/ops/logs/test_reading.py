"""Reading: the lines of every kind of part become one stream in the order of time."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from florin.ops.fleet.home import Home
from florin.ops.logs.entries import LineParser, LogFilter
from florin.ops.logs.reading import FleetLogs
from florin.ops.system.console import OperatorError


def line(at: str, level: str, event: str, instance: str, request: str) -> str:
    document = {"at": at, "level": level, "event": event, "instance": instance}
    return json.dumps(document | {"request_id": request})


API = (
    line("2026-11-29T22:00:01.5Z", "info", "request", "api-1", "req_1"),
    line("2026-11-29T22:00:04Z", "error", "a bug", "api-1", "req_2"),
)
WORKER = (line("2026-11-29T22:00:02+00:00", "warn", "a job failed", "worker-1", "req_1"),)
POSTGRES = (
    f"2026-11-29 22:00:00.123 UTC [17] florin api-1 ERROR:  deadlock at card {42424242:0<16}",
    "\tstatement without a time",
    "2026-11-29 22:00:03.000 UTC [1]  LOG:  checkpoint starting: time",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    for name, lines in (("api-1", API), ("worker-1", WORKER), ("postgres-1", POSTGRES)):
        made.log(name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return made


def shown(home: Home, *names: str, **wanted: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in FleetLogs(home, names, LogFilter(**wanted)).history()]


def test_all_parts_are_merged_by_time(home: Home) -> None:
    events = shown(home)
    assert [(each["instance"], each["level"]) for each in events] == [
        ("postgres-1", "error"),
        ("postgres-1", "error"),
        ("api-1", "info"),
        ("worker-1", "warn"),
        ("postgres-1", "info"),
        ("api-1", "error"),
    ]
    assert "4242" not in events[0]["event"]
    assert events[0]["at"] == events[1]["at"] == "2026-11-29T22:00:00.123000Z"


def test_what_explains_a_message_of_postgresql_has_its_level() -> None:
    parser = LineParser("postgres-1", 0.0)
    at = "2026-11-29 22:00:00.123 UTC [17] florin api-1"
    lines = (
        f"{at} ERROR:  canceling statement due to lock timeout",
        f"{at} DETAIL:  Process holding the lock: 30836.",
        f"{at} STATEMENT:  select",
        "\t  1",
        f"{at} LOG:  checkpoint starting: time",
        f"{at} DETAIL:  Last completed transaction was at log time",
        f"{at} LOG:  archive command failed with exit code 2",
        f"{at} DETAIL:  The failed archive command was: cp",
    )
    levels = [entry.level for line in lines if (entry := parser.parse(line.encode()))]
    assert levels == [*["error"] * 4, "info", "info", "warn", "warn"]


def test_filters_apply_together(home: Home) -> None:
    assert [each["event"] for each in shown(home, request_id="req_1")] == [
        "request",
        "a job failed",
    ]
    assert [each["event"] for each in shown(home, level="warn", request_id="req_1")] == [
        "a job failed"
    ]
    assert [each["instance"] for each in shown(home, "api-1", "worker-1", level="error")] == [
        "api-1"
    ]
    since = datetime(2026, 11, 29, 22, 0, 2, 500_000, UTC).timestamp()
    assert [each["instance"] for each in shown(home, since=since)] == ["postgres-1", "api-1"]


def test_archives_are_read_before_the_log(home: Home) -> None:
    older = line("2026-11-29T21:59:59Z", "info", "older", "api-1", "req_0") + "\n"
    oldest = older.replace("older", "oldest")
    home.log("api-1").with_name("api-1.log.1").write_text(older, "utf-8")
    home.log("api-1").with_name("api-1.log.10").write_text(oldest, "utf-8")
    assert [each["event"] for each in shown(home, "api-1")][:2] == ["oldest", "older"]


def test_an_unknown_part_is_named_with_those_that_there_are(home: Home) -> None:
    with pytest.raises(OperatorError, match=r"no log of api-9 .*logs: api-1, postgres-1, worker-1"):
        shown(home, "api-9")


def test_new_lines_are_followed_and_a_new_part_is_added(home: Home) -> None:
    follower = FleetLogs(home, [], LogFilter(), only_new=True)
    assert follower.new_lines(0.0) == []
    with home.log("api-1").open("a", encoding="utf-8") as log:
        log.write(f"{API[1]}\n{API[0][:20]}")
    home.log("api-2").write_text(API[0].replace("api-1", "api-2") + "\n", "utf-8")
    found = [json.loads(line)["instance"] for line in follower.new_lines(0.0)]
    assert found == ["api-2", "api-1"]
    with home.log("api-1").open("a", encoding="utf-8") as log:
        log.write(f"{API[0][20:]}\n")
    assert [json.loads(line)["event"] for line in follower.new_lines(0.0)] == ["request"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("1:M 29 Nov 2026 22:00:00.000 * Ready to accept connections", "info"),
        ("1:M 29 Nov 2026 22:00:00.000 # Out of memory", "warn"),
        ("1:M 29 Nov 2026 22:00:00.000 - Accepted 127.0.0.1:4", "debug"),
        ("2026-11-29 22:00:00.000 UTC [1] x FATAL:  the database system is starting up", "error"),
        ("2026-11-29 22:00:00.000 UTC [1]  WARNING:  x", "warn"),
        ("[ALERT]    (12) : cannot bind", "error"),
        ("[WARNING]  (12) : Server api/s1 is DOWN", "warn"),
        ("127.0.0.1:5 [29/Nov/2026:22:00:00.000] public api/s1 0/0/0/-1/1 502", "info"),
        ("Traceback (most recent call last):", "info"),
        ('{"level": "loud", "at": "yesterday"}', "info"),
    ],
)
def test_lines_of_other_programs_get_a_level_and_a_time(text: str, level: str) -> None:
    entry = LineParser("part-1", 1000.0).parse(text.encode())
    assert entry is not None
    document = json.loads(entry.text)
    assert (entry.level, document["instance"], document["event"]) == (level, "part-1", text)
    assert datetime.fromisoformat(document["at"]).timestamp() == entry.at
    if text[0].isdigit():
        assert abs(entry.at - datetime(2026, 11, 29, 22, tzinfo=UTC).timestamp()) <= 14 * 3600


def test_blank_lines_are_left_out() -> None:
    assert LineParser("api-1", 0.0).parse(b"      \n") is None
