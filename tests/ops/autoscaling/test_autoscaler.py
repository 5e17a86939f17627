"""Autoscaler: a reading that fails because of a bug is counted and reported; the next follows."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from florin.ops.autoscaling.autoscaler import Autoscaler
from florin.ops.fleet import desired_state
from florin.ops.fleet.model import Fleet, Part
from tests.support.waiting import until


async def test_a_bug_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Part(name="supervisor", role="supervisor", state="ready", release="r1")
    fleet = SimpleNamespace(fleet=Fleet(parts=(me,)))

    def record(part: Part) -> None:
        fleet.fleet = Fleet(parts=(part,))

    fleet.state = SimpleNamespace(record=record)
    no_workers = SimpleNamespace(there=tuple, failed=0)
    spec = SimpleNamespace(limits=None, scale_every_s=0.01)
    running: Any = SimpleNamespace(spec=spec, fleet=fleet, workers=no_workers, home=None)
    scaling = Autoscaler(running)
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        raise KeyError("a bug")

    auto = SimpleNamespace(workers=None)

    def read(_home: object) -> SimpleNamespace:
        return auto

    monkeypatch.setattr(desired_state, "load_desired_state", read)
    monkeypatch.setattr(scaling, "_scale_once", look)
    watching = asyncio.ensure_future(scaling.watch())
    await until(lambda: looks >= 3)
    note = cast("Fleet", fleet.fleet).parts[0].note
    assert "KeyError('a bug') (test_autoscaler.py:" in note
    assert scaling.errors >= 2
    assert "\nflorin_scaling_errors_total " in scaling.metrics()
    auto.workers = 2  # an operator sets the number
    await until(lambda: not fleet.fleet.parts[0].note)
    assert not watching.done()
    watching.cancel()
