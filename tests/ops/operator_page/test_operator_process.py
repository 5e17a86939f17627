"""The operator process in a real fleet: what it shows, how soon, and what it does not need."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from florin.kit.settings.secrets import SecretSettings
from florin.ops.fleet import welcome
from florin.ops.operator_page.document import OperatorState
from florin.ops.system import processes as pids
from tests.ops.conftest import run_cli, until
from tests.ops.operator_page.conftest import ROOT, PageFleet, shown_part
from tests.support.ports import free_port

SHOWN_WITHIN_S = 3.0


@pytest.mark.slow
def test_up_prints_the_address_and_the_page_is_there(page_fleet: PageFleet) -> None:
    shown = welcome.welcome_of(page_fleet.home, "http://127.0.0.1:1")
    assert shown.operator == f"{page_fleet.base}/operator"
    assert f"  Operator page      {shown.operator}\n" in welcome.format_welcome(shown)
    answer = httpx.get(page_fleet.base, follow_redirects=True)
    assert str(answer.url) == shown.operator
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in ("api-1", "api-2", "worker-1", "postgres-1", "valkey-1", "balancer", "operator"):
        assert f'data-part="{name}"' in answer.text


def test_the_document_holds_that_of_status_and_every_source_is_fresh(
    page_fleet: PageFleet,
) -> None:
    state = page_fleet.shown(
        lambda each: (
            each["queues"]
            and not any(age["old"] for age in each["ages"].values())
            and shown_part(each, "worker-1")["queue"]
        ),
        "a reading of each source",
    )
    msgspec.convert(state, OperatorState)
    status = json.loads(run_cli(page_fleet, "status", "--json").stdout)
    assert set(status) <= set(state)
    assert {p["name"]: p["pid"] for p in status["parts"]} == {
        p["name"]: p["pid"] for p in state["parts"]
    }
    assert {q["name"] for q in state["queues"]} == {q["name"] for q in status["queues"]}
    assert state["summary"]["sentence"] == "All systems operational."
    assert shown_part(state, "worker-1")["queue"] == "0/37"


def test_requests_are_counted(page_fleet: PageFleet) -> None:
    before = page_fleet.state()["traffic"]["hour_requests"]
    with httpx.Client(base_url=f"http://127.0.0.1:{page_fleet.port}") as http:
        for _ in range(40):
            assert http.get("/api/v1/openapi.json").status_code == 200
    state = page_fleet.shown(
        lambda each: each["traffic"]["hour_requests"] >= before + 40, "forty requests"
    )
    assert state["traffic"]["error_share"] == 0.0
    assert state["traffic"]["requests_s"] > 0
    page_fleet.shown(
        lambda each: sum(one["requests_s"] for one in each["traffic"]["instances"].values()) > 0,
        "the requests of the instances",
    )


def test_it_changes_nothing_and_serves_nothing_else(page_fleet: PageFleet) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/operator", "/operator/state"):
            assert httpx.request(method, f"{page_fleet.base}{path}").status_code == 405
    for path in ("/operator/none", "/operator/static/florin.css", "/operator/../operator/x"):
        assert httpx.get(f"{page_fleet.base}{path}").status_code == 404
    head = httpx.head(f"{page_fleet.base}/operator")
    assert (head.status_code, head.content) == (200, b"")


def test_a_killed_worker_shows_within_three_seconds_on_the_stream(page_fleet: PageFleet) -> None:
    worker = page_fleet.process("worker-1")
    headers = {"accept": "text/event-stream"}
    with httpx.stream(
        "GET", f"{page_fleet.base}/operator/state", headers=headers, timeout=10
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        first = _next_state(lines)
        assert shown_part(first, "worker-1")["pid"] == worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        killed = time.monotonic()
        while True:
            part = shown_part(_next_state(lines), "worker-1")
            if part["pid"] != worker.pid or part["state"] != "ready":
                break
        assert time.monotonic() - killed < SHOWN_WITHIN_S
    page_fleet.successor("worker-1", worker)
    page_fleet.shown(lambda state: state["summary"]["level"] == "ok", "all to be well again")


def _next_state(lines: Any) -> dict[str, Any]:
    for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    pytest.fail("the stream ended")


def test_status_watch_reads_the_same_document(page_fleet: PageFleet) -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "status", "--watch", "--json", "--home",
         str(page_fleet.home.path)],
        env=page_fleet.environ, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen: dict[str, Any] = {}
    try:
        assert child.stdout is not None
        # A line each second; a part that an earlier test has killed may still be starting.
        for _ in range(30):
            seen = json.loads(child.stdout.readline())
            msgspec.convert(seen, OperatorState)
            if seen["summary"]["level"] == "ok":
                break
    finally:
        child.terminate()
        child.wait(20)
        if child.stdout is not None:
            child.stdout.close()
    assert seen["summary"]["sentence"] == "All systems operational."


def test_it_runs_as_an_ordinary_user_without_the_keys_of_money(page_fleet: PageFleet) -> None:
    pid = page_fleet.process("operator").pid
    content = Path(f"/proc/{pid}/environ").read_bytes()
    environ = dict(each.split("=", 1) for each in content.decode().split("\0") if "=" in each)
    keys = [str(each.validation_alias) for each in SecretSettings.model_fields.values()]
    assert len(keys) > 5
    assert not [key for key in keys if environ.get(key) or environ.get(f"{key}_FILE")]
    assert environ["DATABASE_URL"]
    if os.geteuid() == 0:
        assert pids.process_user(pid) not in (0, None)
        folder = page_fleet.home.path / "operator"
        assert folder.stat().st_uid == (folder / "facts.json").stat().st_uid == 0
        assert (folder / "facts.json").stat().st_mode & 0o007 == 0


@pytest.mark.slow
def test_it_is_up_while_every_instance_the_database_and_the_supervisor_are_dead(
    page_fleet: PageFleet,
) -> None:
    page_fleet.kill_supervisor(page_fleet.supervisors[-1])
    killed = ("api-1", "api-2", "worker-1", "postgres-1", "valkey-1")
    for name in killed:
        os.kill(page_fleet.process(name).pid, signal.SIGKILL)
    begun = time.monotonic()
    state = page_fleet.shown(
        lambda each: all(shown_part(each, name)["state"] == "stopped" for name in killed),
        "all to be shown as stopped",
        within_s=SHOWN_WITHIN_S,
    )
    assert time.monotonic() - begun < SHOWN_WITHIN_S
    texts = [each["text"] for each in state["summary"]["findings"]]
    assert state["summary"]["sentence"].startswith("The database does not answer.")
    assert "No instance of the API answers." in texts
    state = page_fleet.shown(
        lambda each: each["ages"]["queues"]["old"] and each["ages"]["fleet"]["old"],
        "what the database and the supervisor said to be old",
    )
    assert state["queues"], "the last readings stay"
    text = httpx.get(f"{page_fleet.base}/operator").text
    assert "Queues are from" in text
    assert "What the supervisor says is from" in text
    assert (
        httpx.get(f"{page_fleet.base}/operator/runbooks/database-not-reachable").status_code == 200
    )
    page_fleet.up()
    page_fleet.shown(lambda each: each["summary"]["level"] == "ok", "all to be well again", 60)


@pytest.mark.long_form("fleets")
def test_after_a_deployment_it_runs_the_new_release(page_fleet: PageFleet, tmp_path: Path) -> None:
    for name in ("src", "requirements"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    with (tmp_path / "src" / "florin" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("# another release\n")
    before = page_fleet.process("operator")
    result = run_cli(page_fleet, "deploy", "--soak", "0s", "--release", str(tmp_path))
    assert result.returncode == 0, result.stderr
    page_fleet.successor("operator", before)
    state = page_fleet.shown(lambda each: each["summary"]["level"] == "ok", "all to be well", 60)
    releases = {part["release"] for part in state["parts"] if part["role"] in ("api", "operator")}
    assert releases == {state["release"]}
    assert state["audit"][0]["what"].startswith("florin deploy")
    assert state["deploy"] is None


def test_a_stop_is_no_error(tmp_path: Path) -> None:
    """The supervisor stops it with SIGTERM, for example after each deployment."""
    (tmp_path / "alerts").mkdir()
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "FLORIN_OPERATIONS_PORT": str(port)}
    environ |= {"FLORIN_FACTS": str(tmp_path / "facts.json"), "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "operator"],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as child:  # fmt: skip
        try:
            until(lambda: _is_alive(port), "the process to serve", 20)
            child.terminate()
            said, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    assert child.returncode == 0
    events = [json.loads(line) for line in said.splitlines()]
    assert [each["event"] for each in events] == ["starting", "stopped"]


def _is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_operator_process_starts_again(page_fleet: PageFleet) -> None:
    before = page_fleet.process("operator")
    os.kill(before.pid, signal.SIGKILL)
    page_fleet.successor("operator", before)
    until(lambda: page_fleet.state()["state"] == "ready", "the page to be back", 20)


def test_the_demo_owner_sees_it_on_the_public_port(page_fleet: PageFleet) -> None:
    demo = welcome.read_demo(page_fleet.home)
    assert demo is not None
    with httpx.Client(base_url=f"http://127.0.0.1:{page_fleet.port}", timeout=30) as browser:
        assert browser.get("/operator").headers["location"].startswith("/sign-in")
        person = {"email": demo.email, "password": demo.password}
        assert browser.post("/sign-in", data=person).status_code == 303
        page = browser.get("/operator")
        state = browser.get("/operator/state")
    assert '<h2 id="topo">Topology</h2>' in page.text
    assert page.headers["cache-control"] == "no-store"
    assert state.json()["home"] == page_fleet.state()["home"]


def test_a_card_that_is_issued_is_mailed_and_read_in_the_mailbox(page_fleet: PageFleet) -> None:
    demo = welcome.read_demo(page_fleet.home)
    assert demo is not None
    card = {"program": demo.program, "amount": 5000, "deliver": {"channel": "email"}}
    card |= {"recipient": {"name": "Ana", "email": "ana@example.org"}}
    headers = {"Authorization": f"Bearer {demo.api_key}", "Idempotency-Key": "mailed"}
    with httpx.Client(base_url=f"http://127.0.0.1:{page_fleet.port}", headers=headers) as http:
        issued = http.post("/api/v1/cards", json=card)
    assert issued.status_code == 201, issued.text

    def arrived() -> dict[str, Any] | None:
        listed = json.loads(run_cli(page_fleet, "mailbox", "--json").stdout)["mails"]
        return next((each for each in listed if each["recipients"] == ["ana@example.org"]), None)

    mail = until(arrived, "the mail of the card", 30)
    assert mail["id"] in run_cli(page_fleet, "mailbox").stdout
    shown = run_cli(page_fleet, "mailbox", mail["id"])
    link = re.search(rf"http://127.0.0.1:{page_fleet.port}/c/[A-Za-z0-9_-]{{22}}", shown.stdout)
    assert link is not None, shown.stdout
    assert httpx.get(link[0]).status_code == 200
    assert "Subject:" in run_cli(page_fleet, "mailbox", "--last").stdout
    root = f"{page_fleet.base}/operator/mailbox"
    assert f'href="/operator/mailbox/{mail["id"]}"' in httpx.get(root).text
    assert 'href="/operator/mailbox"' in httpx.get(f"{page_fleet.base}/operator").text
    assert f'<a href="{link[0]}"' in httpx.get(f"{root}/{mail['id']}").text
    html = httpx.get(f"{root}/{mail['id']}/html")
    assert link[0] in html.text
    # A mail is foreign HTML: no script of it runs.
    policy = html.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert httpx.get(f"{root}/{'0' * 16}").status_code == 404
    assert shown_part(page_fleet.state(), "mailbox")["state"] == "ready"
    environ = page_fleet.environ
    page_fleet.environ = {**environ, "FLORIN_ENV": "production"}
    try:
        refused = run_cli(page_fleet, "mailbox")
    finally:
        page_fleet.environ = environ
    assert refused.returncode == 1
    assert "no mailbox in production" in refused.stderr
