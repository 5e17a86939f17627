"""Operations listener: it serves metrics and health; the public port serves health only."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from florin.ops.system import ports
from tests.conftest import Urls
from tests.support.hostile_requests import ask
from tests.support.instance import NO_TLS, Instance, instance
from tests.support.ports import free_port

SPELLINGS = (
    *("/metrics", "/metrics/", "//metrics", "/%6Detrics", "/metrics%2f", "/%2Fmetrics"),
    *("/./metrics", "/health/../metrics", "/%2e/metrics", "/metrics/fleet", "/api/v1/metrics"),
    *("/METRICS", "/metrics;x", "/metrics//", "///metrics", "/health/%2e%2e/metrics"),
)


@pytest.mark.parametrize("path", SPELLINGS)
async def test_the_public_port_serves_no_metrics_in_any_spelling(api: Instance, path: str) -> None:
    status, answer = await ask(api.port, path)
    assert status == 404, answer
    kind = b"application/problem+json" if path.startswith("/api") else b"text/html; charset=utf-8"
    assert b"content-type: " + kind in answer.lower()
    assert b"florin_http_requests" not in answer


async def test_a_route_is_the_same_in_every_spelling(api: Instance) -> None:
    """Fast and ordinary routes alike: 401, since the request has no credentials."""
    for path in ("/api/v1/cards", "//api/v1/./cards/", "/api/v1/x/../%63ards"):
        assert (await ask(api.port, path))[0] == 401, path
    for path in ("/api/v1/cards%2Flookup", "/api/v1/cards%2flookup", "/api%2fv1/redemptions"):
        assert (await ask(api.port, path, method="POST"))[0] == 404, path
    for path in ("/api/v1/redemptions", "//api/v1/redemptions", "/api/v1/%72edemptions"):
        assert (await ask(api.port, path, method="POST"))[0] == 401, path


async def test_the_operations_port_has_metrics_and_health_and_nothing_else(api: Instance) -> None:
    async with httpx.AsyncClient(base_url=api.operations, verify=NO_TLS) as http:
        metrics = await http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "florin_http_in_flight" in metrics.text
        for path in ("/health", "/health/live", "/health/ready"):
            assert (await http.get(path)).status_code == 200
        assert (await http.head("/metrics")).content == b""
        for path in ("/", "/api/v1/cards", "/api/v1/openapi.json", "/metrics/fleet"):
            assert (await http.get(path)).status_code == 404
        assert (await http.post("/metrics")).status_code == 405


def test_the_operations_port_is_on_loopback_wherever_the_public_one_is(urls: Urls) -> None:
    with instance(f"{urls.app}?connection_limit=2", FLORIN_HOST="0.0.0.0") as running:  # noqa: S104
        port = int(running.environ["FLORIN_OPERATIONS_PORT"])
        listening = {
            words[1].split(":")[0]
            for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
            if (words := line.split())[3] == "0A" and int(words[1].split(":")[1], 16) == port
        }
    assert listening == {"0100007F"}


def test_a_port_in_use_is_named(urls: Urls) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(
                AssertionError, match=f"FLORIN_OPERATIONS_PORT: cannot listen on port {port} of"
            ),
            instance(urls.app, FLORIN_OPERATIONS_PORT=str(port)),
        ):
            pass


async def test_a_process_without_the_setting_has_no_such_listener(urls: Urls) -> None:
    with instance(f"{urls.app}?connection_limit=2", FLORIN_OPERATIONS_PORT="") as running:
        status, _ = await ask(running.port, "/metrics")
        assert status == 404


async def test_a_draining_instance_serves_metrics(urls: Urls) -> None:
    limits = f"{urls.app}?connection_limit=2"
    with instance(limits, FLORIN_DRAIN_S="5", FLORIN_DRAIN_MAX_S="5") as running:
        assert running.process is not None
        running.process.terminate()
        async with httpx.AsyncClient(base_url=running.operations, verify=NO_TLS) as http:
            async with asyncio.timeout(4):
                while (await http.get("/health/ready")).status_code != 404:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert "florin_http_in_flight" in (await http.get("/metrics")).text
        assert await asyncio.to_thread(running.stop) == 0
    assert ports.is_free_port(int(running.environ["FLORIN_OPERATIONS_PORT"]))


async def test_the_log_level_is_changed_while_the_instance_runs(urls: Urls) -> None:
    with instance(f"{urls.app}?connection_limit=2") as running:
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            level = f"{running.operations}/log-level"
            assert (await http.get(level)).json() == {"level": "info"}
            for body in (b"", b'{"level":"loud"}', b'{"level":"debug","more":1}', b"x" * 1000):
                refused = await http.put(level, content=body)
                assert refused.status_code == 400
                assert "debug" in refused.json()["detail"]
            for number, name in enumerate(("error", "info"), 1):
                changed = await http.put(level, json={"level": name})
                assert changed.json()["level"] == name
                names = {"x-request-id": f"till-{number}"}
                await http.get(f"{running.base}/api/v1/cards", headers=names)
            assert (await http.post(level, json={"level": "debug"})).status_code == 405
            assert (await http.put(f"{running.base}/log-level", json={})).status_code == 404
        running.stop()
        written = running.log.read_text("utf-8")
    assert "till-2" in written
    assert "till-1" not in written
