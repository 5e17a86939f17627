"""Budget: the connections of all pools together, refused before the server would refuse."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.conftest import TestFleet, document, run_cli

from florin.ops.budget import Budget
from florin.ops.tell import Unable
from florin.ops.topology import running_urls


@given(st.integers(1, 40), st.integers(1, 60), st.integers(10, 400))
def test_exactly_as_many_instances_are_allowed_as_fit(instances: int, pool: int, most: int) -> None:
    budget = Budget(instances=instances, pool=pool, most=most, reserved=3)
    assert budget.fits == (instances <= budget.instances_max)
    if budget.fits:
        budget.require()
        assert budget.needed <= most - 3
    else:
        with pytest.raises(Unable, match="The connections do not suffice"):
            budget.require()


def test_too_many_connections_are_refused_at_up_and_scale_and_shown(
    make_fleet: Callable[[], TestFleet],
) -> None:
    owner, guest = make_fleet(), make_fleet()
    owner.up()
    url = running_urls(owner.home)["DATABASE_URL"]
    guest.environ |= running_urls(owner.home)
    guest.environ["DATABASE_URL"] = f"{url}?connection_limit=90"
    said = guest.refused()
    # Two instances and the spare one of a deployment, of 200 connections.
    assert "3 instances with 90 + 1 connections" in said
    assert "make 279 of 197" in said
    assert "takes 2 instances" in said
    guest.environ["DATABASE_URL"] = f"{url}?connection_limit=50"
    guest.up()
    before = guest.processes_of("api")
    refused = run_cli(guest, "scale", "api=4")
    assert refused.returncode == 1
    assert "5 instances with 50 + 1 connections" in refused.stderr
    assert guest.processes_of("api") == before
    checks = document(run_cli(guest, "doctor", "db", "--json"))["checks"]
    (shown,) = [check for check in checks if check["name"] == "connections"]
    assert shown["result"] == "ok"
    assert "make 159 of 197" in shown["said"]
