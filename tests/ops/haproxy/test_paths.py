"""Paths: the balancer normalizes a path before its rules and the instances see it."""

import asyncio
from pathlib import Path

import pytest

from florin.kit.http.paths import normalized
from florin.ops.haproxy import metrics
from tests.ops.haproxy.haproxy_process import running
from tests.ops.haproxy.stub_instances import standins
from tests.support.hostile_requests import ask

SPELLINGS = (
    *(
        "/metrics",
        "/metrics/",
        "//metrics",
        "/%6Detrics",
        "/%6detrics//",
        "/./metrics",
        "/a/../metrics",
    ),
    *("/%2e/metrics", "/a/%2E%2e/metrics", "/../../metrics", "///metrics///", "/", "//", "/cards/"),
    "/api/v1//cards/%6cookup/",
)


@pytest.mark.parametrize("path", SPELLINGS)
async def test_instances_receive_the_path_as_they_would_normalize_it(
    tmp_path: Path, path: str
) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        await run.balancer.admit("a", fleet["a"].address)
        status, _ = await ask(run.balancer.edge.port, f"{path}?q=%2F//..")
        assert status == 200
        assert [call.path for call in fleet["a"].calls] == [
            f"{normalized(path.encode())}?q=%2F//.."
        ]


async def test_an_encoded_slash_is_kept_and_does_not_separate(tmp_path: Path) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        await run.balancer.admit("a", fleet["a"].address)
        await ask(run.balancer.edge.port, "/metrics%2f")
        assert [call.path for call in fleet["a"].calls] == ["/metrics%2f"]


async def test_a_lookup_is_retried_in_every_spelling_of_its_path(tmp_path: Path) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
        for each in fleet.values():
            each.breaks = 1
        posted = "/api/v1//cards/%6Cookup/"
        status, _ = await ask(run.balancer.edge.port, posted, method="POST")
        assert status == 200


async def test_the_operations_port_follows_the_same_rule(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        port = run.balancer.edge.fleet_metrics_port
        assert port is not None
        server = await metrics.serve_fleet_metrics(port, dict)
        async with server:
            for path in ("/metrics/fleet", "//metrics/./%66leet/", "/stats", "/metrics"):
                async with asyncio.timeout(60):
                    status, answer = await ask(run.balancer.edge.operations_port, path)
                assert status == 200, (path, answer[:300])
            assert (await ask(run.balancer.edge.operations_port, "/cards"))[0] == 503
