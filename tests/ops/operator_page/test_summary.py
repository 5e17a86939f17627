"""The sentence of state: what it says, in which order, with which runbook."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from florin.ops.operator_page import summary
from florin.ops.operator_page.document import Age, Summary, Traffic
from florin.ops.postgres.replication_lag import ReplicationLag
from tests.ops.operator_page.states import AT, busy_state, fresh, part, queue, quiet_state

RUNBOOKS = Path(__file__).parents[3] / "docs" / "operations" / "runbooks"


def said(**more: Any) -> Summary:
    return quiet_state(**more).summary


def parts(**changed: dict[str, Any]) -> list[Any]:
    return [
        msgspec.structs.replace(each, **changed.get(each.name.replace("-", "_"), {}))
        for each in quiet_state().parts
    ]


def test_a_fleet_in_which_all_is_well_says_so() -> None:
    found = said()
    assert (found.level, found.sentence) == ("ok", "All systems operational.")
    assert found.detail == "4 of 4 instances take traffic; no request fails."
    assert found.runbook is None


STOPPED = {"state": "stopped", "health": "none", "pid": None}
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "the ledger": (
        {"books": {"balanced": False, "entries": 1, "checked_s": 1.0}},
        *("stop", "The ledger does not balance.", "ledger-not-balanced"),
    ),
    "the primary": (
        {"parts": parts(postgres_1=STOPPED)},
        *("stop", "The database does not answer.", "database-not-reachable"),
    ),
    "a frozen database": (
        {
            "ages": fresh(queues=31.0)
            | {"queues": Age(at=AT, age_s=31.0, old=True, error="no answer within 4 s")}
        },
        *("stop", "The database does not answer. What comes from it is from 17:04:12 UTC.",
          "database-not-reachable"),
    ),
    "a paused queue": (
        {"queues": [queue("bulk", paused=True, waiting=14, oldest_s=900.0)]},
        "warn",
        "Serving. Queue bulk is paused; 14 jobs wait. Resume it: florin queue resume bulk.",
        "queue-grows",
    ),
    "two primaries": (
        {"parts": parts(postgres_2={"role": "postgres-primary", "lag": None})},
        *("stop", "postgres-1 and postgres-2 are both primaries.", "primary-lost"),
    ),
    "every instance": (
        {"parts": parts(api_1=STOPPED, api_2=STOPPED, api_3=STOPPED, api_4=STOPPED)},
        *("stop", "No instance of the API answers.", "instance-no-answer"),
    ),
    "the balancer": (
        {"parts": parts(balancer=STOPPED)},
        *("stop", "The balancer does not answer.", "connections-refused"),
    ),
    "errors": (
        {"traffic": Traffic(requests_s=100.0, error_share=0.031, errors_s=3.1)},
        *("stop", "3.1% of requests fail (limit 0.5%).", "overloaded"),
    ),
    "a replica": (
        {"parts": parts(postgres_2={"lag": ReplicationLag(bytes=2**24, seconds=41.0)})},
        *("warn", "Serving. Replica postgres-2 is 41 s behind (limit 10 s). Reads go elsewhere.",
          "replica-lags"),
    ),
    "a queue": (
        {"queues": [queue("webhook-delivery", waiting=3, oldest_s=192.0)]},
        "warn",
        "Serving. Queue webhook-delivery: the oldest job waits 3 min 12 s (objective 30 s).",
        "queue-grows",
    ),
    "dead jobs": (
        {"queues": [queue("bulk", dead=2)]},
        *("warn", "Serving. Dead jobs: 2 in bulk.", "dead-jobs"),
    ),
    "no worker": (
        {"parts": parts(worker_1=STOPPED), "queues": [queue("bulk", waiting=2)]},
        *("stop", "No worker runs and jobs wait.", "queue-grows"),
    ),
    "the supervisor": (
        {"parts": parts(supervisor=STOPPED)},
        *("warn", "Serving. No supervisor runs: a part that ends is not restarted.",
          "no-supervisor"),
    ),
    "one instance": (
        {"parts": parts(api_3={**STOPPED, "state": "failed", "note": "ended 7 times"})},
        *("warn", "Serving. api-3: ended 7 times.", "instance-restarts"),
    ),
    "a backup": (
        {"backups": {"taken": {"age_s": 1e5, "failing": "not taken for 27 h 46 min"}}},
        *("warn", "Serving. Backups: not taken (not taken for 27 h 46 min).", "backup-overdue"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_finding_is_the_sentence_with_its_runbook(case: str) -> None:
    changed, level, sentence, runbook = CASES[case]
    found = said(**changed)
    first = sentence.removeprefix("Serving. ")
    assert found.findings[0].text == first
    assert found.sentence.startswith(sentence)
    assert (found.level, found.runbook) == (level, runbook)
    assert (RUNBOOKS / f"{runbook}.md").is_file()


def test_several_findings_are_counted_and_what_stops_the_service_comes_first() -> None:
    found = busy_state().summary
    assert found.level == "warn"
    assert found.sentence.endswith("3 more things need attention.")
    worse = said(
        parts=parts(api_3={**STOPPED, "state": "failed"}),
        books={"balanced": False, "entries": 1, "checked_s": 1.0},
    )
    assert worse.sentence == "The ledger does not balance. 1 more thing needs attention."
    assert {(RUNBOOKS / f"{each.runbook}.md").is_file() for each in found.findings} == {True}


def test_old_readings_are_no_findings_of_now() -> None:
    late = [queue("bulk", waiting=3, oldest_s=999.0)]
    assert said(queues=late, ages=fresh(queues=30.0)).level == "ok"
    failing = Traffic(requests_s=100.0, error_share=0.5, errors_s=50.0)
    assert said(traffic=failing, ages=fresh(balancer=30.0)).level == "ok"


def test_few_answers_are_no_share_of_errors() -> None:
    few = Traffic(requests_s=0.1, error_share=0.5, errors_s=0.05)
    assert said(traffic=few).level == "ok"


def test_without_a_fleet_it_says_how_to_start_one() -> None:
    found = said(state="stopped", parts=[])
    assert (found.level, found.detail) == ("stop", "Start it with florin up.")


def test_a_worker_that_starts_or_leaves_is_no_finding() -> None:
    for state in ("starting", "draining"):
        workers = [*quiet_state().parts, part("worker-2", "worker", state)]
        assert said(parts=workers).level == "ok"


def test_durations() -> None:
    shown = [summary.format_seconds(n) for n in (0, 0.4, 12, 192, 3600, 7325, 97_200, 172_800)]
    expected = ["0 s", "0.4 s", "12 s", "3 min 12 s", "1 h", "2 h 2 min", "1 d 3 h", "2 d"]
    assert shown == expected
