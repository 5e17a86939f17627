"""Capacity: two full sets are refused where they do not fit, with the numbers."""

from types import SimpleNamespace
from typing import Any

import pytest

from florin.ops.fleet.operation_lock import Operation
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.postgres import connection_budget
from florin.ops.postgres.connection_budget import ConnectionBudget
from florin.ops.rollout import capacity
from florin.ops.rollout.capacity import require_memory, require_two_sets
from florin.ops.system import memory
from florin.ops.system.console import OperatorError

MB = 2**20
OLD, NEW = ReleaseMark("r1", 1), ReleaseMark("r2", 2)


def test_memory_that_suffices_is_accepted() -> None:
    require_memory(664 * MB, 200 * MB, 3)
    require_memory(None, 200 * MB, 3)  # a system that does not say


def test_memory_that_does_not_suffice_is_refused_with_the_numbers() -> None:
    with pytest.raises(OperatorError, match=r"3 more instances need 3 x 200 MB, 663 MB are avail"):
        require_memory(663 * MB, 200 * MB, 3)


def deployment(count: int) -> Operation:
    goal = dict.fromkeys((f"api-green-{n}" for n in range(1, count + 1)), NEW)
    undo = dict.fromkeys((f"api-{n}" for n in range(1, count + 1)), OLD)
    return Operation(who="ada", what="florin deploy", goal=goal | {"worker-1": NEW}, undo=undo)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fleet of 200 MB instances with 11 connections each, and room for 100 connections."""

    async def read_budget(
        _url: str, instances: int, workers: int = 0, *, replicas: str = ""
    ) -> ConnectionBudget:
        del replicas
        return ConnectionBudget(instances=instances, workers=workers, pool=5, most=103, reserved=3)

    monkeypatch.setattr(connection_budget, "read_budget", read_budget)

    def instance_memory(_running: object) -> int:
        return 200 * MB

    monkeypatch.setattr(capacity, "instance_memory", instance_memory)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000 * MB)
    edge = SimpleNamespace(timing=SimpleNamespace(slots=32))
    topology = SimpleNamespace(database="", replicas="", balancer=SimpleNamespace(edge=edge))
    return SimpleNamespace(topology=topology)


async def test_two_sets_that_fit_are_accepted(fleet: Any) -> None:
    await require_two_sets(fleet, deployment(3))


async def test_two_sets_without_connections_are_refused(fleet: Any) -> None:
    with pytest.raises(OperatorError, match=r"Too few database connections for both sets: 10 inst"):
        await require_two_sets(fleet, deployment(5))


async def test_two_sets_without_slots_are_refused(fleet: Any) -> None:
    fleet.topology.balancer.edge.timing.slots = 5
    with pytest.raises(OperatorError, match=r"3 \+ 3 instances .* 5 server slots"):
        await require_two_sets(fleet, deployment(3))


async def test_two_sets_without_memory_are_refused(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 500 * MB)
    with pytest.raises(OperatorError, match="Too little memory for both sets"):
        await require_two_sets(fleet, deployment(3))
