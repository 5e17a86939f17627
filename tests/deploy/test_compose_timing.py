"""Timing of Compose and Swarm: every number in their files is compared with the timing model.

Then each is halved in turn, and the same comparison must find it: a number that nothing compares is
found, too.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from florin.ops.fleet.timing import DEFAULT
from tests.deploy.test_compose_files import SERVICES, STACK, load

DOCUMENTS: dict[str, dict[str, Any]] = {
    "compose.yaml": SERVICES,
    "compose.patroni.yaml": load("compose.patroni.yaml")["services"],
    "stack.yaml": STACK["services"],
}
_TIME = re.compile(r"([\d.]+)(ms|s)?")
_IS_TIME = re.compile(r"(_period|_S|monitor|delay|interval|timeout)$")
# When a start or a loss is noticed, which nothing else waits for; and pauses before another try.
_OTHER = re.compile(r"/healthcheck/|/delay$")
_OURS = r"(api|api-blue|api-green|worker|operator|balancer|migrate|tool)"
# The place of a number: its service and the path in it, and what it must be.
_EQUAL: tuple[tuple[str, float], ...] = (
    (rf"{_OURS}/stop_grace_period", DEFAULT.stop_grace_s),
    (r".*/deploy/(update|rollback)_config/monitor", DEFAULT.update_watch_s),
    *((rf".*/environment/{name}", float(value)) for name, value in DEFAULT.environ().items()),
)
# A server of PostgreSQL is still there when the last instance has finished.
_MORE: tuple[tuple[str, float], ...] = ((r"database.*/stop_grace_period", DEFAULT.stop_grace_s),)
# So that it is noticed when the places of numbers are not found any more.
_NUMBERS = {"compose.yaml": 33, "compose.patroni.yaml": 1, "stack.yaml": 49}


def times(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every time in a document, with its place."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str | int, Any]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[Any]", value)))
    elif path and _IS_TIME.search(str(path[-1])) and _TIME.fullmatch(str(value)):
        yield path, str(value)
    for key, each in items:
        yield from times(each, (*path, key))


def compared(services: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    return [each for each in times(services) if not _OTHER.search("/".join(map(str, each[0])))]


def wrong(services: dict[str, Any]) -> list[str]:
    """The numbers that are not those of the model, or that nothing compares."""
    found: list[str] = []
    for path, text in compared(services):
        place = "/".join(map(str, path))
        number, unit = _TIME.fullmatch(text).groups()  # pyright: ignore[reportOptionalMemberAccess]
        value = float(number) / (1000 if unit == "ms" else 1)
        exact = [want for pattern, want in _EQUAL if re.fullmatch(pattern, place)]
        least = [want for pattern, want in _MORE if re.fullmatch(pattern, place)]
        if exact != [value] and not (least and value > least[0]):
            found.append(f"{place} is {text}")
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_number_is_that_of_the_model(name: str) -> None:
    assert wrong(DOCUMENTS[name]) == []
    assert len(compared(DOCUMENTS[name])) == _NUMBERS[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_half_of_any_number_is_found(name: str) -> None:
    for path, text in compared(DOCUMENTS[name]):
        services = json.loads(json.dumps(DOCUMENTS[name]))  # what YAML shares, apart
        node: Any = services
        for key in path[:-1]:
            node = node[key]
        number, unit = _TIME.fullmatch(text).groups()  # pyright: ignore[reportOptionalMemberAccess]
        node[path[-1]] = f"{float(number) / 2:g}{unit or ''}"
        [found] = wrong(services)
        assert found.startswith("/".join(map(str, path)))


def test_a_new_instance_goes_before_an_old_one_and_a_bad_one_returns() -> None:
    api = STACK["services"]["api"]["deploy"]["update_config"]
    assert (api["order"], api["failure_action"]) == ("start-first", "rollback")
