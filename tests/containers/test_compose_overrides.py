"""The override files of Compose: a project for development, and Valkey as a cluster."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.conftest import FORM
from tests.containers.engine import Engine
from tests.containers.topology import Topology, running_topology
from tests.support.members import PASSWORD
from tests.support.page_client import SAME_ORIGIN

pytestmark = pytest.mark.long_form(FORM)
NODES = tuple(f"valkey-{number}" for number in range(1, 7))


@pytest.fixture
def development(networked: Engine) -> Iterator[Topology]:
    with running_topology(networked, 8000, "compose.development.yaml") as running:
        yield running


@pytest.fixture
def clustered(networked: Engine) -> Iterator[Topology]:
    with running_topology(networked, 8000, "compose.valkey-cluster.yaml") as running:
        print(f"\nwith a Valkey cluster from nothing to served in {running.healthy_s:.1f} s")
        yield running


def test_a_project_for_development_keeps_its_mails_and_shows_them(development: Topology) -> None:
    merchant = development.merchant()
    issued = httpx.post(
        f"http://{development.address}/api/v1/cards",
        json={
            "program": merchant.program,
            "amount": 2500,
            "recipient": {"name": "Ana", "email": "ana@example.org"},
            "deliver": {"channel": "email"},
        },
        headers={"authorization": f"Bearer {merchant.api_key}", "idempotency-key": "mail"},
        trust_env=False,
        timeout=30,
    )
    assert issued.status_code == 201, issued.text
    command = ("exec", "-T", "operator", "florin", "mailbox", "--json")
    deadline = time.monotonic() + 30
    while not (mails := msgspec.json.decode(development.compose(*command))["mails"]):
        log = development.compose("logs", "--tail", "20", "worker", "mailbox")
        assert time.monotonic() < deadline, f"no mail was kept: {log}"
        time.sleep(0.5)
    assert mails[0]["recipients"] == ["ana@example.org"]
    development.compose("restart", "--timeout", "5", "mailbox")
    assert msgspec.json.decode(development.compose(*command))["mails"] == mails
    health = development.containers("mailbox")[0]["State"]["Health"]
    assert health["Status"] in ("starting", "healthy")
    listed = operator_page(development, "/operator/mailbox")
    assert "ana@example.org" in listed


def operator_page(project: Topology, path: str) -> str:
    """A page of the operator's process on the public port, for an owner who signed up."""
    base, email = f"http://{project.address}", f"owner{time.monotonic_ns()}@example.org"
    with httpx.Client(base_url=base, headers=SAME_ORIGIN, trust_env=False, timeout=30) as browser:
        merchant = {"name": "Shop", "country": "NL", "currency": "EUR"}
        body = {"email": email, "password": PASSWORD, "merchant": merchant}
        assert browser.post("/api/v1/auth/register", json=body).status_code == 201
        signed_in = browser.post("/sign-in", data={"email": email, "password": PASSWORD})
        assert signed_in.status_code == 303, signed_in.text
        answer = browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


async def test_a_valkey_cluster_loses_a_master_and_no_request_fails(
    clustered: Topology,
) -> None:
    merchant: CheckMerchant = await asyncio.to_thread(clustered.merchant)
    await until_valkey_answers(clustered)
    lost = await asyncio.to_thread(find_master, clustered)
    by = next(name for name in NODES if name != lost)
    async with clustered.load(merchant, rate=15.0) as load:
        await load.until(50, 30)
        began = time.monotonic()
        await asyncio.to_thread(clustered.compose, "kill", "--signal", "KILL", lost)
        deadline = time.monotonic() + 30
        while not await asyncio.to_thread(is_complete, clustered, by, lost):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        print(f"every slot has a master {time.monotonic() - began:.1f} s after {lost} was killed")
        await load.until(load.log.requests + 50, 30)
        await asyncio.to_thread(clustered.compose, "start", lost)
        await until_valkey_answers(clustered)
    role = await asyncio.to_thread(ask, clustered, lost, "role")
    assert role.split()[0] == "slave", "it came back as a replica of its successor"


def ask(project: Topology, node: str, *words: str) -> str:
    tls = "--tls --cacert /run/secrets/ca_certificate --user florin-operator"
    shell = f"REDISCLI_AUTH=$(cat /run/secrets/valkey_operator_password) valkey-cli {tls}"
    return project.compose("exec", "-T", node, "sh", "-c", f"{shell} {' '.join(words)}")


def find_master(project: Topology) -> str:
    """A master other than the first node, which all URLs name first."""
    return next(name for name in NODES[1:] if ask(project, name, "role").startswith("master"))


def is_complete(project: Topology, by: str, lost: str) -> bool:
    """Whether every slot has a master that is not `lost`."""
    state = ask(project, by, "cluster", "info")
    line = next(each for each in ask(project, by, "cluster", "nodes").splitlines() if lost in each)
    return "cluster_state:ok" in state and "cluster_slots_fail:0" in state and "fail" in line


async def until_valkey_answers(project: Topology) -> None:
    deadline = time.monotonic() + 60
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        while True:
            answer = await http.get(f"http://{project.address}/health")
            if answer.status_code == 200 and answer.json()["checks"]["redis"]:
                return
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.5)
