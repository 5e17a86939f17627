"""Alerts arrive: faults of a running fleet reach PagerDuty, Slack and e-mail, and nothing else."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from florin.kit import ids
from tests.deploy.test_alert_rules import alerts
from tests.journeys.alerts.faults import CASES, FaultCase
from tests.journeys.alerts.watched_fleet import WatchedFleet, alert_of, watched_fleet
from tests.support.monitoring import DEPLOY, program

QUICK_S = 120  # an alert that looks at the last minutes takes longer; its end is not awaited


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    with watched_fleet(tmp_path_factory.mktemp("alerts"), "--replicas", "1") as made:
        sell_and_redeem(made)
        yield made


def sell_and_redeem(watched: WatchedFleet) -> None:
    with watched.http() as http:
        for _ in range(3):
            card = http.post(
                "/cards",
                json={"program": http.headers["x-program"], "amount": 5000},
                headers={"Idempotency-Key": str(ids.new_id())},
            )
            assert card.status_code == 201, card.text
            spent = http.post(
                "/redemptions",
                json={
                    "card": card.json()["id"],
                    "amount": 100,
                    "currency": card.json()["currency"],
                },
                headers={"Idempotency-Key": str(ids.new_id())},
            )
            assert spent.status_code == 201, spent.text
            assert http.get("/cards").status_code == 200


def test_the_whole_fleet_has_metrics_that_promtool_accepts(watched: WatchedFleet) -> None:
    text = httpx.get(f"http://{watched.operations}/metrics/fleet", timeout=10).text
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for part in (
        "supervisor",
        "postgres-1",
        "postgres-2",
        "valkey-1",
        "api-1",
        "worker-1",
        "balancer",
    ):
        for name in ("up", "cpu_seconds_total", "resident_memory_bytes", "open_fds"):
            assert f'florin_part_{name}{{part="{part}"' in text, (part, name)


def test_every_query_of_the_dashboards_has_an_answer(watched: WatchedFleet) -> None:
    deadline = time.monotonic() + 120  # rates need two samples, some of them seconds apart
    queries = [
        (file.name, panel["title"], target["expr"])
        for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(file.read_text("utf-8"))["panels"]
        for target in panel["targets"]
    ]
    assert len(queries) > 80
    while empty := [each for each in queries if not watched.prometheus.query(each[2])]:
        assert time.monotonic() < deadline, empty
        time.sleep(2)


def test_nothing_fires_on_a_healthy_fleet(watched: WatchedFleet) -> None:
    watched.wait_until_quiet()
    assert not watched.pager.events
    assert not watched.chat.messages
    assert not watched.mail.mails


def test_the_dead_mans_switch_is_held(watched: WatchedFleet) -> None:
    before = len(watched.beats.beats)
    assert watched.beats.wait_until(lambda: len(watched.beats.beats) > before, 120)
    assert not watched.beats.refused


def test_a_fault_arrives_and_resolves(watched: WatchedFleet) -> None:
    prove(watched, CASES[0], resolves=True)


@pytest.mark.long_form("alerts")
def test_faults_arrive_and_resolve(watched: WatchedFleet) -> None:
    for case in CASES:
        prove(watched, case, resolves=case.heals_s <= QUICK_S)
    for name, (seconds, resolved) in watched.seconds.items():
        print(f"| {name} | {seconds:.0f} s | {resolved:.0f} s |")


def prove(watched: WatchedFleet, case: FaultCase, *, resolves: bool) -> None:
    before, incidents = watched.pages(), len(watched.pager.incidents)
    begun, title = time.monotonic(), f"] {case.alert}:"
    with case.inject(watched):
        opened = watched.pager.wait_for(title, case.within_s) if case.page else None
        message = watched.chat.wait_for(title, case.within_s)
        mail = watched.mail.wait_for(title, case.within_s)
    healed = time.monotonic()
    arrived = opened.opened_at if opened is not None else max(message.at, mail.at)
    assert begun <= arrived <= begun + case.within_s
    assert f"docs/operations/runbooks/{runbook(case.alert)}" in mail.text
    assert mail.subject.startswith("[test] ")
    resolved = 0.0
    if resolves:
        ended = watched.chat.wait_for(f"Resolved: {case.alert}:", case.heals_s).at
        if opened is not None:
            ended = watched.pager.wait_resolved(opened, case.heals_s)
        resolved = ended - healed
    paged = {alert_of(each.summary) for each in watched.pager.incidents[incidents:]}
    expected = {case.alert} if case.page else set[str]()
    assert paged - case.also <= expected | before, (case.name, paged)
    watched.seconds[f"{case.name} | `{case.alert}`"] = (arrived - begun, resolved)


def runbook(alert: str) -> str:
    return Path(alerts()[alert]["annotations"]["runbook"]).name
