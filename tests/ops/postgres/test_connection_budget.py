"""Budget: too many connections of all pools together are refused before the server refuses."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florin.kit.queue.main import CONTROL_CONNECTIONS, OWN_SLOTS_CONNECTIONS
from florin.ops.postgres import connection_budget
from florin.ops.postgres.connection_budget import ConnectionBudget, replica_connections
from florin.ops.system.console import OperatorError
from florin.ops.topology.topology import running_urls
from florin.ops.topology.worker_process import SLOTS
from tests.ops.conftest import TestFleet, document, run_cli


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 20), st.integers(10, 400))
def test_exactly_the_instances_that_fit_are_allowed(
    instances: int, pool: int, reads: int, most: int
) -> None:
    budget = ConnectionBudget(instances=instances, pool=pool, reads=reads, most=most, reserved=3)
    assert budget.fits == (instances <= budget.instances_max)
    if budget.fits:
        budget.require()
        assert budget.needed <= most - 3
    else:
        with pytest.raises(OperatorError, match="Too few database connections"):
            budget.require()


@pytest.mark.parametrize(
    ("replicas", "each"),
    [
        ("", 20 + 10 + 3),
        # The pool to the next primary, its monitoring as a replica, the monitoring of the primary.
        ("postgresql://app@a/florin", 20 + 10 + 3 + 10 + 2),
        ("postgresql://app@a/florin?connection_limit=4", 20 + 10 + 3 + 4 + 2),
        (
            "postgresql://app@a/f?connection_limit=4,postgresql://app@b/f?connection_limit=30",
            20 + 10 + 3 + 30 + 2,
        ),
    ],
)
def test_connections_of_an_instance_to_one_server(replicas: str, each: int) -> None:
    reads = replica_connections(replicas)
    one = ConnectionBudget(instances=1, pool=20, reads=reads, most=100, reserved=3)
    three = ConnectionBudget(instances=3, pool=20, reads=reads, workers=2, most=1000, reserved=3)
    assert one.each == each
    assert three.needed - ConnectionBudget(
        instances=0, pool=20, workers=2, most=1000, reserved=3
    ).needed == (3 * each)
    assert f"20 + 10 + 3{f' + {reads}' if reads else ''} connections" in three.describe()
    assert three.workers_max == (1000 - 3 - 6 - 3 * each) // 12


def test_a_worker_is_counted_with_all_that_it_may_open() -> None:
    assert connection_budget.WORKER == SLOTS + OWN_SLOTS_CONNECTIONS + CONTROL_CONNECTIONS


@pytest.mark.slow
def test_too_many_connections_are_refused_at_up_and_scale_and_shown(
    make_fleet: Callable[[], TestFleet],
) -> None:
    owner, guest = make_fleet(), make_fleet()
    owner.up()
    url = running_urls(owner.home)["DATABASE_URL"]
    guest.environ |= running_urls(owner.home)
    guest.environ["DATABASE_URL"] = f"{url}?connection_limit=90"
    said = guest.refused()
    # Two instances and the extra one of a deployment, of 300 connections.
    assert "3 instances with 90 + 45 + 3 connections" in said
    assert "need 420 of 297" in said
    assert "room for 2 instances" in said
    guest.environ["DATABASE_URL"] = f"{url}?connection_limit=60"
    guest.up()
    before = guest.processes_of("api")
    refused = run_cli(guest, "scale", "api=4")
    assert refused.returncode == 1
    assert "5 instances with 60 + 30 + 3 connections" in refused.stderr
    assert guest.processes_of("api") == before
    checks = document(run_cli(guest, "doctor", "db", "--json"))["checks"]
    (shown,) = [check for check in checks if check["name"] == "connections"]
    assert shown["result"] == "ok"
    assert "need 285 of 297" in shown["message"]
