"""Fault case: a fault, its alert, and the times within which it must arrive and resolve."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.journeys.alerts.watched_fleet import WatchedFleet

Inject = Callable[[WatchedFleet], AbstractContextManager[None]]
PAGE, TICKET = True, False


@dataclass(frozen=True, slots=True)
class FaultCase:
    """`inject` lasts as long as its context. `also` may fire too: consequences that are no noise.

    `within_s` is from the injection to the receivers, `heals_s` from its end to the
    resolution.
    """

    name: str
    alert: str
    inject: Inject
    page: bool
    within_s: float
    also: frozenset[str] = frozenset()
    heals_s: float = 120


def case(
    name: str,
    alert: str,
    inject: Inject,
    page: bool,
    within_s: float,
    *,
    also: tuple[str, ...] = (),
    heals_s: float = 120,
) -> FaultCase:
    return FaultCase(name, alert, inject, page, within_s, frozenset(also), heals_s)
