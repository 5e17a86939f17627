"""Compose: the project from nothing, then used, broken and deployed to under load."""

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
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


def test_instances_reach_the_operator_process(project: Topology) -> None:
    program = (
        "import os, urllib.request as u;"
        "print(u.urlopen(os.environ['FLORIN_OPERATOR_URL'] + '/operator', timeout=5).status)"
    )
    words = ("exec", "-T", "api-blue", "/opt/florin/bin/python", "-P", "-c", program)
    assert project.compose(*words) == "200\n"


def test_the_replica_follows_over_tls(project: Topology) -> None:
    query = (
        "select state, ssl from pg_stat_replication join pg_stat_ssl using (pid)"
        " where usename = 'florin_replica'"
    )
    words = ("exec", "-T", "database", "psql", "-U", "postgres", "-h", "/run/postgresql")
    assert project.compose(*words, "-Atc", query) == "streaming|t\n"
    plain = "host=127.0.0.1 user=florin_app dbname=florin sslmode=disable password=x"
    project.compose(*words[:4], plain, "-c", "select 1", fails=True)


@pytest.mark.slow
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


async def test_a_rolling_deployment_fails_no_request(
    project: Topology, merchant: CheckMerchant
) -> None:
    async with project.load(merchant, rate=RATE) as load:
        await load.until(50, 30)
        said = await asyncio.to_thread(
            project.florin,
            *("deploy", "--target", "compose", "--release", "florin:2", "--soak", "1s", "--json"),
        )
        outcome = msgspec.json.decode(said.stdout)
        await load.until(load.log.requests + 50, 30)
    assert outcome["outcome"] == "done"
    assert [step.split()[0] for step in outcome["steps"]] == [
        *("start", "admit", "watch", "drain", "stop") * 2
    ]
    running = project.containers("api-blue", "api-green", "worker", "operator")
    assert {one["Config"]["Image"] for one in running} == {"florin:2"}


@pytest.mark.slow
async def test_a_release_that_does_not_start_is_undone(
    project: Topology, merchant: CheckMerchant
) -> None:
    before = {one["Id"] for one in project.containers("api-blue", "api-green", "worker")}
    async with project.load(merchant, rate=RATE):
        for way in ((), ("--blue-green",)):
            words = ("deploy", "--target", "compose", "--release", "florin:bad", *way)
            said = await asyncio.to_thread(project.florin, *words, fails=True)
            assert "The change was undone" in said.stderr
            assert "broken" in said.stderr
    assert {one["Id"] for one in project.containers("api-blue", "api-green", "worker")} == before


@pytest.mark.slow
async def test_blue_green_and_the_way_back_fail_no_request(
    project: Topology, merchant: CheckMerchant
) -> None:
    async with project.load(merchant, rate=RATE) as load:
        await load.until(50, 30)
        words = ("--target", "compose", "--json")
        said = await asyncio.to_thread(
            project.florin,
            *(
                "deploy",
                "--blue-green",
                "--release",
                "florin:1",
                "--soak",
                "1s",
                "--verify",
                *words,
            ),
        )
        there = msgspec.json.decode(said.stdout)
        assert serving(project) == "green"
        said = await asyncio.to_thread(project.florin, "rollback", *words)
        back = msgspec.json.decode(said.stdout)
        assert serving(project) == "blue"
    print(f"switched in {there['flip_s']:.2f} s, back in {back['flip_s']:.2f} s")
    assert there["failed"] == 0
    assert there["requests"] >= 400
    assert back["release"] == "florin:2"


@pytest.mark.slow
def test_a_balancer_that_restarts_serves_the_same_colour(project: Topology) -> None:
    project.compose("restart", "--timeout", "1", "balancer")
    assert serving(project) == "blue"


@pytest.mark.slow
def test_a_renewed_certificate_is_served_without_a_restart(
    project: Topology, tmp_path: Path
) -> None:
    edge = project.folder / "edge"
    edge.mkdir()
    first, second = (make_pem(tmp_path, name) for name in ("first", "second"))
    install(first, edge)
    files = ("-f", str(project.folder / "compose.tls.yaml"))
    project.compose(*files, "up", "--detach", "--no-deps", "--wait", "balancer")
    assert served_certificate(project) == first.read_text("utf-8").split("-----END C")[0]
    started = project.containers("balancer")[0]["State"]["StartedAt"]
    install(second, edge)
    project.compose(*files, "kill", "--signal", "USR2", "balancer")
    deadline = time.monotonic() + 20
    while served_certificate(project) != second.read_text("utf-8").split("-----END C")[0]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert project.containers("balancer")[0]["State"]["StartedAt"] == started
    project.compose("up", "--detach", "--no-deps", "--wait", "balancer")


def make_pem(folder: Path, name: str) -> Path:
    """A certificate with its key, signed by itself."""
    key, certificate, pem = (folder / f"{name}.{kind}" for kind in ("key", "crt", "pem"))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key)]
    subprocess.run([*words, "-out", str(certificate)], check=True, capture_output=True)
    pem.write_text(certificate.read_text("utf-8") + key.read_text("utf-8"), "utf-8")
    return pem


def install(pem: Path, edge: Path) -> None:
    shutil.copy(pem, edge / "new")
    (edge / "new").chmod(0o644)
    (edge / "new").rename(edge / "certificate.pem")


def served_certificate(project: Topology) -> str:
    served = ssl.get_server_certificate((project.engine.host, project.port), timeout=5)
    return served.split("-----END C")[0]


def both_are_up(project: Topology) -> bool:
    """Whether the balancer's health checks of two instances pass."""
    rows = ask_balancer(project, "show stat").splitlines()
    return sum(row.startswith("blue,s") and ",UP," in row for row in rows) == 2


def serving(project: Topology) -> str:
    """The colour by the balancer itself."""
    return ask_balancer(project, "show map /usr/local/etc/haproxy/live/colour.map").split()[-1]


def ask_balancer(project: Topology, command: str) -> str:
    asking = f"exec 3<>/dev/tcp/$BALANCER_CONTROL/9999; echo {command} >&3; cat <&3"
    return project.compose("exec", "-T", "balancer", "bash", "-c", asking)
