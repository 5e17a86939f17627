"""Alerts of a real fleet, through real receivers: test, outage, end, silence."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ops.conftest import TestFleet, document, run_cli, until
from tests.support.receivers import (
    Incident,
    MailServer,
    PagerDuty,
    Slack,
    mail_server,
    pagerduty,
    slack,
)
from tests.support.receivers.settings import receiver_settings
from tests.support.receivers.slack import OUTAGE

ROOT = Path(__file__).parents[3]
ARRIVES_WITHIN_S = 60.0
ENDS_WITHIN_S = 150.0


@dataclass(frozen=True, slots=True)
class AlertedFleet:
    fleet: TestFleet
    mails: MailServer
    chat: Slack
    pager: PagerDuty


@pytest.fixture(scope="module")
def alerted() -> Iterator[AlertedFleet]:
    folder = Path(tempfile.mkdtemp(prefix="florin test "))
    folder.chmod(0o711)
    fleet = TestFleet(folder)
    fleet.workers, fleet.whole = "1", True
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(fleet.clean_up)
        mails = stack.enter_context(mail_server())
        chat, pager = stack.enter_context(slack()), stack.enter_context(pagerduty())
        fleet.environ |= receiver_settings(mails, chat, pager)
        fleet.up()
        yield AlertedFleet(fleet, mails, chat, pager)


@pytest.mark.slow
def test_the_test_reaches_every_receiver(alerted: AlertedFleet) -> None:
    said = run_cli(alerted.fleet, "alerts", "test")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "email: accepted",
        "slack: accepted",
        "pagerduty: accepted",
    ]
    assert "[TEST]" in alerted.mails.mails[-1].subject
    assert "[TEST]" in alerted.chat.messages[-1].text
    assert not alerted.pager.open_incidents()


def test_a_receiver_that_refuses_the_test_is_named(alerted: AlertedFleet) -> None:
    alerted.chat.fail(OUTAGE)
    said = run_cli(alerted.fleet, "alerts", "test", "--json")
    assert said.returncode == 1
    found = {each["receiver"]: each for each in document(said)["receivers"]}
    assert found["slack"]["error"] == "503 service_unavailable"
    assert found["email"]["state"] == found["pagerduty"]["state"] == "sent"
    assert "Not every receiver accepted the test" in said.stderr


def test_a_deployment_and_why_it_was_undone_arrive_everywhere(alerted: AlertedFleet) -> None:
    fleet, pager = alerted.fleet, alerted.pager
    folder = fleet.home.path / "hooks"
    folder.mkdir(mode=0o700)
    hook = folder / "before-start"
    hook.write_text("#!/bin/sh\necho no change on Fridays\nexit 1\n", "utf-8")
    hook.chmod(0o700)
    try:
        said = run_cli(fleet, "deploy", "--soak", "0s", "--release", str(ROOT))
    finally:
        shutil.rmtree(folder)
    assert said.returncode == 1
    why = "The hook before-start failed (exit code 1): no change on Fridays"
    assert why in said.stderr
    for outcome in ("STARTED", "UNDONE"):
        title = f"[DEPLOYMENT {outcome}] florin deploy --soak 0s"
        message, mail = alerted.chat.wait_for(title, 20), alerted.mails.wait_for(title, 20)
        assert (why in message.text, why in mail.text) == (outcome == "UNDONE",) * 2
    assert pager.wait_until(lambda: len(pager.changes) == 2, 20)
    started, undone = (each["payload"] for each in pager.changes)
    assert "[DEPLOYMENT STARTED] florin deploy" in started["summary"]
    assert "[DEPLOYMENT UNDONE] florin deploy" in undone["summary"]
    assert why in undone["custom_details"]["why"]
    assert not pager.open_incidents()


@pytest.mark.slow
def test_an_outage_arrives_everywhere(alerted: AlertedFleet) -> None:
    with outage(alerted):
        pass


@pytest.mark.long_form("alerts")  # an outage counts as ended after a minute without it
def test_an_outage_ends_everywhere(alerted: AlertedFleet) -> None:
    with outage(alerted) as incident:
        pass
    alerted.pager.wait_resolved(incident, ENDS_WITHIN_S)
    alerted.mails.wait_for("[RESOLVED] InstancesDown", ENDS_WITHIN_S)
    assert incident.triggers == 1


@contextmanager
def outage(alerted: AlertedFleet) -> Generator[Incident]:
    """Freeze every instance until each receiver has the alert; yields the incident of the page."""
    fleet = alerted.fleet
    instances = list(fleet.processes_of("api").values())
    # The supervisor too: it would replace them, and its metrics must not be needed.
    frozen = [each for each in (*instances, fleet.process("supervisor")) if each is not None]
    assert len(frozen) == 3
    begun = time.monotonic()
    for each in frozen:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        incident = alerted.pager.wait_for("InstancesDown", ARRIVES_WITHIN_S)
        alerted.chat.wait_for("[FIRING] InstancesDown", ARRIVES_WITHIN_S)
        alerted.mails.wait_for("[FIRING] InstancesDown", ARRIVES_WITHIN_S)
        assert time.monotonic() - begun < ARRIVES_WITHIN_S
        listed = document(run_cli(fleet, "alerts", "--json"))
        [alert] = [each for each in listed["firing"] if each["name"] == "InstancesDown"]
        assert {each["receiver"]: each["state"] for each in alert["deliveries"]} == {
            "email": "sent",
            "slack": "sent",
            "pagerduty": "sent",
        }
        yield incident
    finally:
        for each in frozen[::-1]:
            os.kill(each.pid, signal.SIGCONT)


def test_a_silence_is_shown_recorded_and_ended(alerted: AlertedFleet) -> None:
    fleet = alerted.fleet
    said = run_cli(fleet, "alerts", "silence", "QueueLate/bulk", "--for", "30m")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("QueueLate/bulk is silenced until ")

    def silences() -> list[str]:
        return [each["name"] for each in document(run_cli(fleet, "alerts", "--json"))["silences"]]

    until(lambda: silences() == ["QueueLate/bulk"], "the silence to be known", 20)
    assert "florin alerts silence QueueLate/bulk" in run_cli(fleet, "audit").stdout
    said = run_cli(fleet, "alerts", "silence", "QueueLate/bulk", "--for", "0m")
    assert said.stdout == "QueueLate/bulk is not silenced any more.\n"
    until(lambda: silences() == [], "the silence to end", 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["silence"], "Use: florin alerts silence NAME --for 1h."),
        (["silence", "QueueLate"], "Use: florin alerts silence NAME --for 1h."),
        (["silence", "Nonsense", "--for", "1h"], "Unknown alert Nonsense; choose all or one of: "),
        (["silence", "all", "--for", "soon"], "give a time such as 30m, 1h or 2d"),
        (["test", "QueueLate"], "Use: florin alerts test, and nothing more."),
    ],
)
def test_a_wrong_command_says_how_it_is_used(
    alerted: AlertedFleet, words: list[str], message: str
) -> None:
    said = run_cli(alerted.fleet, "alerts", *words)
    assert said.returncode in (1, 2)
    assert message in said.stderr
    assert "Traceback" not in said.stderr
