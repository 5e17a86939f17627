"""Alerts arrive: a fault of a running fleet reaches PagerDuty, Slack and e-mail, and nothing else.

bin/test --long alerts (root) runs every fault and prints the rows of the table in
docs/operations/alerts.md.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from florin.kit import ids
from tests.deploy.test_alert_rules import alerts
from tests.journeys.alerts.fault_case import FaultCase
from tests.journeys.alerts.faults import CASES
from tests.journeys.alerts.watched_fleet import DISK_MB, WatchedFleet, alert_of, watched_fleet
from tests.support.monitoring import DEPLOY, program

AWAITED_S = 300  # an alert that looks at the last minutes ends later; its end is not awaited
LONG = pytest.mark.long_form("alerts")
FAULTS = [
    pytest.param(case, id=case.alert, marks=() if case is CASES[0] else LONG) for case in CASES
]
MEASURED = DEPLOY.parent / "docs" / "operations" / "alerts.md"


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[WatchedFleet]:
    every = request.config.getoption("--form") is not None
    disk_mb = DISK_MB if every else None
    folder = tmp_path_factory.mktemp("alerts")
    with watched_fleet(folder, "--replicas", "1", disk_mb=disk_mb) as made:
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_dead_mans_switch_is_held(watched: WatchedFleet) -> None:
    before = len(watched.beats.beats)
    assert watched.beats.wait_until(lambda: len(watched.beats.beats) > before, 120)
    assert not watched.beats.refused


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_arrives_and_resolves(watched: WatchedFleet, fault: FaultCase) -> None:
    seconds, resolved = prove(watched, fault)
    ended = "not awaited" if resolved is None else f"{resolved:.0f} s"
    print(f"| {fault.name} | `{fault.alert}` | {seconds:.0f} s | {ended} |")


def prove(watched: WatchedFleet, case: FaultCase) -> tuple[float, float | None]:
    """Return the seconds until it arrived, and from the end of the fault until it resolved."""
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
    resolved = None
    if case.heals_s <= AWAITED_S:
        ended = watched.chat.wait_for(f"Resolved: {case.alert}:", case.heals_s).at
        if opened is not None:
            ended = watched.pager.wait_resolved(opened, case.heals_s)
        resolved = ended - healed
    paged = {alert_of(each.summary) for each in watched.pager.incidents[incidents:]}
    expected = {case.alert} if case.page else set[str]()
    assert paged - case.also <= expected | before, (case.name, paged)
    return arrived - begun, resolved


def runbook(alert: str) -> str:
    return Path(alerts()[alert]["annotations"]["runbook"]).name


def test_the_page_names_the_rules_that_no_fault_proves() -> None:
    """They are proven by promtool's cases only, on series that were written for these."""
    proven = {case.alert for case in CASES} | {"CertificateEnds", "Watchdog"}
    assert proven <= set(alerts())
    _, _, rest = MEASURED.read_text("utf-8").partition("## Without a fault\n")
    assert set(re.findall(r"`(\w+)`", rest)) == set(alerts()) - proven
