"""Monitoring: Debian's Prometheus and Alertmanager, run on a fleet with the files of deploy/."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.receivers import MailServer, PagerDuty, Slack
from tests.support.receivers.smtp import PASSWORD, USER

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
_READY_WITHIN_S = 60
BEAT_EVERY = "5s"
_PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}


def program(name: str) -> str:
    """Return the path of a program; the test is skipped where its package is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {_PACKAGES[name]})")
    return found


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression. Raises AssertionError with its error."""
        answer = httpx.get(
            f"{self.base}/api/v1/query", params={"query": expression}, timeout=30
        ).json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {each["metric"]["alertname"] for each in self.query('ALERTS{alertstate="firing"}')}


@contextmanager
def prometheus(
    operations: str,
    *,
    alertmanager: int | None = None,
    every_s: int = 5,
    shorter: Mapping[str, str] | None = None,
) -> Generator[Prometheus]:
    """Scrape the fleet whose operations port has the address `operations` (host:port).

    The configuration is that of deploy/, with other addresses. `shorter` replaces texts of the
    rules, for tests that cannot wait for hours. Alerts are sent again after seconds, not a minute:
    what Prometheus sends before it has found Alertmanager is lost.
    """
    with tempfile.TemporaryDirectory(prefix="florin-test-") as name:
        folder, port = Path(name), free_port()
        config = load(DEPLOY / "prometheus" / "prometheus.yaml")
        config["global"] |= {
            "scrape_interval": f"{every_s}s",
            "scrape_timeout": f"{every_s}s",
            "evaluation_interval": f"{every_s}s",
            "external_labels": {"env": "test"},
        }
        own = [f"127.0.0.1:{port}"]
        for job in config["scrape_configs"]:
            targets = own if job["job_name"] == "prometheus" else [operations]
            job["static_configs"] = [{"targets": targets}]
        if alertmanager is None:
            del config["alerting"]
        else:
            [server] = config["alerting"]["alertmanagers"]
            server["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
        rules = RULES.read_text("utf-8")
        for old, new in (shorter or {}).items():
            assert old in rules, old
            rules = rules.replace(old, new)
        (folder / "rules.yaml").write_text(rules, "utf-8")
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
        argv = [program("prometheus"), f"--config.file={folder / 'prometheus.yaml'}"]
        argv += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={own[0]}"]
        argv += [f"--rules.alert.resend-delay={every_s}s"]
        with _running(argv, folder / "log", f"http://{own[0]}/-/ready"):
            yield Prometheus(port)


@contextmanager
def alertmanager(mail: MailServer, chat: Slack, pager: PagerDuty, heartbeat: str) -> Generator[int]:
    """Run Alertmanager with the configuration of deploy/ and these receivers; return its port.

    The dead man's switch beats every few seconds instead of every minute.
    """
    with tempfile.TemporaryDirectory(prefix="florin-test-") as name:
        folder, port = Path(name), free_port()
        config = alertmanager_config(folder, mail.address, heartbeat)
        for receiver in config["receivers"]:
            for each in receiver.get("pagerduty_configs", []):
                each["url"] = pager.url
        [beat] = [each for each in config["route"]["routes"] if each["receiver"] == "heartbeat"]
        assert beat["repeat_interval"] == beat["group_interval"] == "1m"
        beat |= {"repeat_interval": BEAT_EVERY, "group_interval": BEAT_EVERY}
        config["global"] |= {"smtp_require_tls": False, "smtp_auth_username": USER}
        secrets = folder / "secrets"
        (secrets / "smtp-password").write_text(PASSWORD, "utf-8")
        (secrets / "slack-webhook-url").write_text(chat.url, "utf-8")
        (secrets / "pagerduty-routing-key").write_text(pager.routing_key, "utf-8")
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config), "utf-8")
        argv = [program("prometheus-alertmanager")]
        argv += [f"--config.file={folder / 'alertmanager.yaml'}", "--cluster.listen-address="]
        argv += [f"--storage.path={folder}", f"--web.listen-address=127.0.0.1:{port}"]
        with _running(argv, folder / "log", f"http://127.0.0.1:{port}/-/ready"):
            yield port


def alertmanager_config(folder: Path, smarthost: str, heartbeat: str) -> Any:
    """Return the configuration of deploy/ with its files in `folder`."""
    text = (DEPLOY / "alertmanager" / "alertmanager.yaml").read_text("utf-8")
    config = yaml.safe_load(text.replace("/etc/alertmanager/", f"{folder}/"))
    (folder / "secrets").mkdir()
    shutil.copy(DEPLOY / "alertmanager" / "florin.tmpl", folder / "florin.tmpl")
    config["global"]["smtp_smarthost"] = smarthost
    [beat] = [each for each in config["receivers"] if each["name"] == "heartbeat"]
    beat["webhook_configs"][0]["url"] = heartbeat
    return config


@contextmanager
def _running(argv: list[str], log: Path, ready: str) -> Generator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _answers(ready):
            gone = process.poll() is not None or time.monotonic() > deadline
            assert not gone, log.read_text("utf-8")[-3000:]
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
