"""Compose: the project from nothing, then used, broken and deployed to under load."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.engine import Engine
from tests.containers.topology import Topology, running_topology
from tests.support.waiting import until

PORT = 8000
RATE = 25.0  # steps a second


@pytest.fixture(scope="module")
def project(networked: Engine) -> Iterator[Topology]:
    with running_topology(networked, PORT) as running:
        yield running


@pytest.fixture(scope="module")
def merchant(project: Topology) -> CheckMerchant:
    return project.merchant()


def test_everything_is_healthy_from_nothing(project: Topology) -> None:
    print(f"\nfrom nothing to served in {project.healthy_s:.1f} s")
    for one in project.containers():
        state = one["State"]
        if one["Config"]["Labels"]["com.docker.compose.service"] == "migrate":
            assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        else:
            assert state["Health"]["Status"] == "healthy", one["Name"]


async def test_the_instances_reach_the_database_and_valkey_by_its_sentinels(
    project: Topology,
) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://{project.address}/health"
        deadline = time.monotonic() + 60
        while (answer := await http.get(url)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.5)
    assert answer.json()["checks"] == {"database": True, "redis": True}


def test_containers_have_no_rights_and_only_the_balancer_is_published(project: Topology) -> None:
    published: set[str] = set()
    for one in project.containers():
        name, host = one["Config"]["Labels"]["com.docker.compose.service"], one["HostConfig"]
        assert host["ReadonlyRootfs"] is True, name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        if any(one["NetworkSettings"]["Ports"].values()):
            published.add(name)
        if one["State"]["Status"] == "running":
            shown = project.engine.docker(
                "exec",
                one["Id"],
                "sh",
                "-c",
                "id -u; grep CapEff /proc/1/status; touch /file 2>&1 || :",
            ).stdout
            user, rights, refused = shown.splitlines()
            assert user != "0", name
            assert int(rights.split()[1], 16) == 0, name
            assert "Read-only file system" in refused, name
    assert published == {"balancer"}


async def test_a_card_is_issued_and_redeemed_through_the_balancer(
    project: Topology, merchant: CheckMerchant
) -> None:
    headers = {"authorization": f"Bearer {merchant.api_key}"}
    base = f"http://{project.address}/api/v1"
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as http:
        body = {"program": merchant.program, "amount": 2500}
        issued = await http.post("/cards", json=body, headers={"idempotency-key": "compose-1"})
        assert issued.status_code == 201, issued.text
        spent = {"code": issued.json()["code"], "amount": 900, "currency": "EUR"}
        redeemed = await http.post(
            "/redemptions", json=spent, headers={"idempotency-key": "compose-2"}
        )
        assert redeemed.status_code == 201, redeemed.text
        assert redeemed.json()["balance"] == 1600
        proof = await http.get("/ledger/proof")
        assert proof.json()["balanced"] is True


def test_the_replica_follows_over_tls(project: Topology) -> None:
    query = (
        "select state, ssl from pg_stat_replication join pg_stat_ssl using (pid)"
        " where usename = 'florin_replica'"
    )
    words = ("exec", "-T", "database", "psql", "-U", "postgres", "-h", "/run/postgresql")
    assert project.compose(*words, "-Atc", query) == "streaming|t\n"
    plain = "host=127.0.0.1 user=florin_app dbname=florin sslmode=disable password=x"
    project.compose(*words[:4], plain, "-c", "select 1", fails=True)


async def test_a_killed_instance_fails_no_request(
    project: Topology, merchant: CheckMerchant
) -> None:
    async with project.load(merchant, rate=RATE) as load:
        for one in project.containers("api-blue"):
            before = load.log.requests
            await asyncio.to_thread(project.engine.docker, "kill", "--signal", "KILL", one["Id"])
            await load.until(before + 60, 30)
            await asyncio.to_thread(project.engine.docker, "start", one["Id"])
            await until(partial(both_are_up, project), within_s=60)


def both_are_up(project: Topology) -> bool:
    """Whether the balancer's health checks of two instances pass."""
    rows = ask_balancer(project, "show stat").splitlines()
    return sum(row.startswith("blue,s") and ",UP," in row for row in rows) == 2


def ask_balancer(project: Topology, command: str) -> str:
    asking = f"exec 3<>/dev/tcp/$BALANCER_CONTROL/9999; echo {command} >&3; cat <&3"
    return project.compose("exec", "-T", "balancer", "bash", "-c", asking)
