"""The dispatcher: no alert twice, none lost while a receiver is away or the process restarts."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.samples import Sample

from florin.kit.settings.settings import read_receivers
from florin.ops.alerting import dispatcher as dispatcher_
from florin.ops.alerting import orders
from florin.ops.alerting.alert_book import AlertBook
from florin.ops.alerting.change_events import EventBook
from florin.ops.alerting.conditions import CONDITIONS, Condition
from florin.ops.alerting.dispatcher import AlertDispatcher
from florin.ops.alerting.fleet_metrics import LEDGER_UNBALANCED, FleetMetrics
from florin.ops.alerting.receivers import make_receivers, open_client
from florin.ops.fleet.audit_log import OperationRecord
from tests.support.receivers import MailServer, PagerDuty, Slack, mail_server, pagerduty, slack
from tests.support.receivers.settings import receiver_settings
from tests.support.receivers.slack import OUTAGE

WITHIN_S = 20.0
NAMES = ("email", "slack", "pagerduty")


class Fleet:
    """A fleet whose ledger balances or not, its receivers, and the dispatcher's files."""

    def __init__(
        self,
        folder: Path,
        mails: MailServer,
        chat: Slack,
        pager: PagerDuty,
        client: httpx.AsyncClient,
    ) -> None:
        self.folder, self.mails, self.chat, self.pager = folder, mails, chat, pager
        self.wrong = 0
        self.records: list[OperationRecord] = []
        environ = receiver_settings(mails, chat, pager)
        self.receivers = make_receivers(read_receivers(environ), client)

    def readings(self) -> tuple[FleetMetrics, dict[str, float]]:
        metrics = FleetMetrics()
        metrics.add_processes(0, [Sample(LEDGER_UNBALANCED, {}, self.wrong)])
        return metrics, {"processes": time.time(), "balancer": time.time()}

    def record(self, outcome: str, message: str = "", *, age_s: float = 0) -> None:
        at = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat(timespec="milliseconds")
        self.records.append(
            OperationRecord(
                at=at.replace("+00:00", "Z"), who="jana", what="florin deploy", outcome=outcome,
                message=message, details={"outcome": outcome},
            )
        )  # fmt: skip

    @property
    def orders(self) -> Path:
        return self.folder / "orders.json"

    @asynccontextmanager
    async def dispatching(self) -> AsyncGenerator[AlertDispatcher]:
        made = AlertDispatcher(
            AlertBook(self.folder / "alerts.json"),
            self.receivers,
            self.readings,
            orders=self.orders,
            place="tests",
            page=lambda: "http://127.0.0.1:1/operator",
            events=EventBook(self.folder / "events.json"),
            changes=lambda: self.records,
        )
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(dispatcher_, "EVALUATE_EVERY_S", 0.1)
    # The ledger's alert stays for a minute after its last violation.
    quick = [c if c.name != "LedgerUnbalanced" else _quick(c) for c in CONDITIONS]
    monkeypatch.setattr(dispatcher_, "CONDITIONS", tuple(quick))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client())
        mails = stack.enter_context(mail_server())
        chat, pager = stack.enter_context(slack()), stack.enter_context(pagerduty())
        yield Fleet(tmp_path, mails, chat, pager, client)


def _quick(condition: Condition) -> Condition:
    return replace(condition, keep_s=0.2)


async def until(ask: Callable[[], object], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def counts(fleet: Fleet) -> tuple[int, int, int]:
    return len(fleet.mails.mails), len(fleet.chat.messages), len(fleet.pager.events)


async def test_every_receiver_gets_an_alert_once_and_its_end_once(fleet: Fleet) -> None:
    async with fleet.dispatching() as running:
        fleet.wrong = 2
        await until(lambda: counts(fleet) == (1, 1, 1))
        evaluated = running.evaluated
        await until(lambda: running.evaluated > evaluated + 1.5)
        assert counts(fleet) == (1, 1, 1)
        assert "LedgerUnbalanced" in fleet.mails.mails[0].subject
        fleet.wrong = 0
        await until(lambda: counts(fleet) == (2, 2, 2))
        assert not fleet.pager.open_incidents()
        assert "[RESOLVED]" in fleet.chat.messages[1].text


async def test_an_alert_is_kept_while_a_receiver_is_away_and_delays_no_other(fleet: Fleet) -> None:
    fleet.pager.stop()
    async with fleet.dispatching() as running:
        fleet.wrong = 1
        await until(lambda: counts(fleet)[:2] == (1, 1))
        await until(lambda: "not reachable" in running.errors.get("pagerduty", ""))
        fleet.pager.start()
        await until(fleet.pager.open_incidents)
        assert counts(fleet)[:2] == (1, 1)
        await until(lambda: running.errors["pagerduty"] == "")  # noted after the answer


async def test_a_receiver_that_hangs_delays_no_other(fleet: Fleet) -> None:
    fleet.chat.delay_s = 5
    async with fleet.dispatching():
        fleet.wrong = 1
        await until(lambda: fleet.mails.mails and fleet.pager.events, within_s=4)
        assert not fleet.chat.messages


async def test_a_restart_loses_no_alert_and_sends_none_twice(fleet: Fleet) -> None:
    fleet.pager.stop()
    async with fleet.dispatching() as first:
        fleet.wrong = 1
        await until(lambda: counts(fleet)[:2] == (1, 1))
        await until(lambda: first.errors.get("pagerduty"))

        def delivered() -> int:
            return sum(bool(each.sent) for each in first.book.alerts[0].deliveries.values())

        await until(lambda: delivered() == 2)
    fleet.pager.start()
    async with fleet.dispatching():
        await until(fleet.pager.open_incidents)
        fleet.wrong = 0
        await until(lambda: not fleet.pager.open_incidents())
        await until(lambda: counts(fleet)[:2] == (2, 2))
    subjects = [each.subject.partition("]")[0] for each in fleet.mails.mails]
    assert subjects == ["[FIRING", "[RESOLVED"]


async def test_what_began_and_ended_while_it_was_away_is_one_message(fleet: Fleet) -> None:
    fleet.chat.stop()
    fleet.pager.stop()
    async with fleet.dispatching() as running:
        fleet.wrong = 1
        await until(lambda: running.errors.get("slack") and running.errors.get("pagerduty"))
        fleet.wrong = 0
        await until(lambda: len(fleet.mails.mails) == 2)
        fleet.chat.start()
        fleet.pager.start()
        await until(lambda: fleet.chat.messages)
        await asyncio.sleep(0)
        [message] = fleet.chat.messages
        assert "[RESOLVED]" in message.text
        assert not fleet.pager.events


async def test_a_silenced_alert_is_sent_when_the_silence_ends(fleet: Fleet) -> None:
    now = time.time()
    orders.add_silence(
        fleet.orders, orders.Silence(name="LedgerUnbalanced", until=now + 60, who="a", since=now)
    )
    async with fleet.dispatching() as running:
        await until(lambda: running.orders.silences)
        fleet.wrong = 1
        await until(lambda: running.book.alerts)
        evaluated = running.evaluated
        await until(lambda: running.evaluated > evaluated + 1.5)
        assert counts(fleet) == (0, 0, 0)
        orders.add_silence(
            fleet.orders, orders.Silence(name="LedgerUnbalanced", until=now, who="a", since=now)
        )
        await until(lambda: counts(fleet) == (1, 1, 1))


async def test_a_test_reaches_every_receiver_and_shows_their_answers(fleet: Fleet) -> None:
    async with fleet.dispatching() as running:
        fleet.chat.fail(OUTAGE)
        orders.request_test(fleet.orders, "abc")
        await until(lambda: len(running.tests.get("abc", {})) == 3)
        results = running.tests["abc"]
        assert bool(results["email"].sent and results["pagerduty"].sent)
        assert "503" in results["slack"].error
        assert "[TEST]" in fleet.mails.mails[0].subject
        evaluated = running.evaluated
        await until(lambda: running.evaluated > evaluated + 1.0)
        assert len(fleet.mails.mails) == 1


async def test_a_condition_that_fails_ends_neither_the_others_nor_the_process(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: FleetMetrics) -> dict[str, str]:
        raise ZeroDivisionError

    several = [replace(CONDITIONS[0], find=broken), *dispatcher_.CONDITIONS[1:]]
    monkeypatch.setattr(dispatcher_, "CONDITIONS", tuple(several))
    async with fleet.dispatching():
        fleet.wrong = 1
        await until(lambda: counts(fleet) == (1, 1, 1))


async def test_old_collections_end_no_alert(fleet: Fleet) -> None:
    async with fleet.dispatching() as running:
        fleet.wrong = 1
        await until(lambda: counts(fleet) == (1, 1, 1))
        metrics, _ = fleet.readings()
        empty = FleetMetrics(balancer=metrics.balancer)
        running.readings = lambda: (empty, {"processes": time.time() - 61})
        evaluated = running.evaluated
        await until(lambda: running.evaluated > evaluated + 1.0)
        assert running.book.alerts[0].state == "firing"


def change_counts(fleet: Fleet) -> tuple[int, int, int]:
    return len(fleet.mails.mails), len(fleet.chat.messages), len(fleet.pager.changes)


async def test_every_receiver_gets_a_deployment_once_also_after_a_restart(fleet: Fleet) -> None:
    async with fleet.dispatching() as running:
        await until(lambda: running.evaluated)
        fleet.record("begun")
        await until(lambda: change_counts(fleet) == (1, 1, 1))
        await until(lambda: not any(running.events.due(n, time.time()) for n in NAMES))
    fleet.record("undone", "12 requests failed")
    async with fleet.dispatching() as running:
        await until(lambda: change_counts(fleet) == (2, 2, 2))
        evaluated = running.evaluated
        await until(lambda: running.evaluated > evaluated + 1.5)
    assert change_counts(fleet) == (2, 2, 2)
    titles = [each.subject.partition(" florin")[0] for each in fleet.mails.mails]
    assert titles == ["[DEPLOYMENT STARTED]", "[DEPLOYMENT UNDONE]"]
    assert "12 requests failed" in fleet.chat.messages[1].text
    assert not fleet.pager.events


async def test_an_event_waits_for_a_receiver_that_is_away_and_delays_no_other(fleet: Fleet) -> None:
    fleet.pager.stop()
    async with fleet.dispatching() as running:
        await until(lambda: running.evaluated)
        fleet.record("begun")
        await until(lambda: change_counts(fleet)[:2] == (1, 1))
        await until(lambda: "not reachable" in running.errors.get("pagerduty", ""))
        fleet.pager.start()
        await until(lambda: change_counts(fleet) == (1, 1, 1))


async def test_what_happened_before_the_first_start_or_long_ago_is_not_sent(fleet: Fleet) -> None:
    fleet.record("done", age_s=60)
    async with fleet.dispatching() as running:
        await until(lambda: running.events.events)
        fleet.record("done", age_s=25 * 3600)
    async with fleet.dispatching() as running:
        await until(lambda: len(running.events.events) == 2)
        fleet.record("done", "the last one")
        await until(lambda: change_counts(fleet) == (1, 1, 1))
    assert "the last one" in fleet.chat.messages[0].text


async def test_a_receiver_that_is_set_later_gets_no_earlier_event(fleet: Fleet) -> None:
    every, fleet.receivers = fleet.receivers, fleet.receivers[:1]
    async with fleet.dispatching() as running:
        await until(lambda: running.evaluated)
        fleet.record("done", "an earlier one")
        await until(lambda: change_counts(fleet) == (1, 0, 0))
        await until(lambda: not running.events.due("email", time.time()))
    fleet.receivers = every
    async with fleet.dispatching() as running:
        await until(lambda: running.evaluated)
        fleet.record("done", "the next one")
        await until(lambda: change_counts(fleet) == (2, 1, 1))
    assert "the next one" in fleet.chat.messages[0].text
