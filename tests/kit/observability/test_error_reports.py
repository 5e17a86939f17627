"""Error reports: what arrives at Sentry names the place of an error, and no value at all."""

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from florin.kit.observability import error_reports, metrics
from florin.kit.observability import logging as log
from florin.kit.observability.context import bind_work, parse_traceparent
from florin.ops.supervisor.watchdog import Watchdog
from tests.support.sentry_ingest import Ingest, ingest

CODE, PIN, KEY = "K4N4-R1E0-8FT6-GXMN", "731906", "flk_kanarie7Zq"
EMAIL = "kanarie7Zq@shop.example"
SECRETS = (CODE, CODE.replace("-", ""), PIN, KEY, EMAIL, "kanarie7Zq")


def total(outcome: str) -> float:
    found = metrics.registry.get_sample_value("florin_error_reports_total", {"outcome": outcome})
    assert found is not None
    return found


@pytest.fixture
def receiver() -> Iterator[Ingest]:
    with ingest() as running:
        error_reports.start_reports(running.dsn, release="r1", environment="test", instance="api-9")
        try:
            yield running
        finally:
            error_reports.shut_down()
            bind_work(None)


def _fail(code: str) -> None:
    pin = PIN
    try:
        _ = {"known": 1}[f"{code} {pin}"]
    except KeyError as missing:
        failure = ValueError(f"no card {code!r} with PIN {pin} of {EMAIL}")
        failure.add_note(f"the key was {KEY}")
        raise failure from missing


def caught() -> ValueError:
    with pytest.raises(ValueError, match="no card") as failed:
        _fail(CODE)
    return failed.value


def test_an_event_has_types_places_and_ids_and_no_values(receiver: Ingest) -> None:
    trace = parse_traceparent(f"00-{'ab' * 16}-{'cd' * 8}-01")
    bind_work(f"req_{'0' * 32}", trace)
    fields = {"event": "a bug", "route": "/api/v1/cards/{card}", "code": CODE, "note": EMAIL}
    error_reports.report_error(caught(), fields)
    receiver.wait(1)
    [event] = receiver.events
    first, last = event["exception"]["values"]
    assert (first["type"], last["type"]) == ("KeyError", "ValueError")
    assert "value" not in first
    assert [frame["function"] for frame in last["stacktrace"]["frames"]][-1] == "_fail"
    assert last["stacktrace"]["frames"][-1]["filename"].endswith("test_error_reports.py")
    assert event["tags"] == {
        "event": "a bug",
        "route": "/api/v1/cards/{card}",
        "request_id": f"req_{'0' * 32}",
    }
    assert event["contexts"]["trace"]["trace_id"] == "ab" * 16
    names = ("release", "environment", "server_name")
    assert [event[name] for name in names] == ["r1", "test", "api-9"]
    assert receiver.kinds == {"event"}
    for secret in SECRETS:
        assert secret not in receiver.text


def test_what_is_logged_as_an_error_is_reported(
    receiver: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sys, threading):  # configured for the whole process
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    log.configure_logging(level="info", instance="api-9")
    bind_work(f"till-{PIN}")  # the caller's own id may be any text
    log.get_logger().error("a bug", exc_info=caught(), code=CODE, token=KEY)
    log.get_logger().warning("no bug", exc_info=caught())
    log.get_logger().error("nothing raised", code=CODE)
    logging.getLogger("asyncio").error("task %r broke", CODE, exc_info=caught())
    Watchdog().report(f"restart {CODE}", caught())
    receiver.wait(3)
    error_reports.shut_down()
    assert [event["tags"] for event in receiver.events] == [
        {"event": "a bug"},
        {"logger": "asyncio"},
        {"event": "a task of the supervisor failed"},
    ]
    for secret in SECRETS:
        assert secret not in receiver.text


@pytest.mark.parametrize("text", [CODE, KEY, EMAIL, f"a bug at {PIN}!", "line\nbreak", "é", ""])
def test_a_text_that_is_not_allowed_stops_the_event(receiver: Ingest, text: str) -> None:
    before = total("refused")
    error_reports.report_error(caught(), {"event": text})
    assert total("refused") == before + 1
    error_reports.report_error(caught(), {"event": "after it"})
    receiver.wait(1)
    assert [event["tags"]["event"] for event in receiver.events] == ["after it"]


def test_a_type_made_at_run_time_stops_the_event(receiver: Ingest) -> None:
    made: Any = type(f"Error {EMAIL}", (Exception,), {})
    before = total("refused")
    error_reports.report_error(made(), {"event": "a bug"})
    assert total("refused") == before + 1
    assert not receiver.events


def test_a_storm_of_errors_is_limited(receiver: Ingest) -> None:
    before = total("limited")
    for _ in range(error_reports.REPORTS_PER_MINUTE + 20):
        error_reports.report_error(caught(), {"event": "a bug"})
    assert total("limited") - before >= 20 - 1
    error_reports.shut_down()
    assert len(receiver.events) <= 2 * error_reports.REPORTS_PER_MINUTE


def test_a_server_that_is_away_raises_nothing() -> None:
    error_reports.start_reports(
        "http://0123456789abcdef@127.0.0.1:1/42", release="r", environment="test", instance="a"
    )
    error_reports.report_error(caught(), {"event": "a bug"})
    error_reports.shut_down()
    error_reports.report_error(caught(), {"event": "a bug"})  # without a reporter: nothing
