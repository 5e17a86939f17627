"""Ports: what one part of a home is to get is not given to another, although it is free yet."""

import pytest

from florin.ops.system import ports


def test_a_port_that_is_spoken_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_port()
    second = ports.free_port(but=(first,))
    drawn = iter((first, second))

    def draw(_first: int, _last: int) -> int:
        return next(drawn)

    monkeypatch.setattr("florin.ops.system.ports.random.randrange", draw)
    assert ports.free_port(but={"postgres": first}.values()) == second


def test_the_remembered_port_stays_its_own() -> None:
    port = ports.free_port()
    assert ports.free_port(port, but=(port,)) == port
