"""Ports: one that is reserved for a part is not given to another part, although it is free."""

import pytest

from florin.ops.system import ports


def test_a_reserved_port_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_port()
    second = ports.free_port(but=(first,))
    drawn = iter((first, second))

    def draw(_first: int, _last: int) -> int:
        return next(drawn)

    monkeypatch.setattr("florin.ops.system.ports.random.randrange", draw)
    assert ports.free_port(but={"postgres": first}.values()) == second


def test_a_remembered_port_stays_reserved() -> None:
    port = ports.free_port()
    assert ports.free_port(port, but=(port,)) == port
