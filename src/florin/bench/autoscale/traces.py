"""Traces: arrival times and durations of jobs, and the faults during them."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LASTS_S = 5_400.0  # 90 minutes
SERVICE_S = 0.5
OBJECTIVE_S = 10.0
_SIGMA = math.sqrt(math.log(2))  # of a lognormal whose standard deviation equals its mean
_MINUTE = 60.0

Rate = Callable[[float], float]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Arrivals per second at each instant, and the faults. Spans are [from, to) in seconds."""

    name: str
    says: str
    rate: Rate
    most: float  # the rate is never above it
    lasts_s: float = LASTS_S
    dump: tuple[float, int] | None = None  # (instant, number of jobs that arrive at once)
    poison: float = 0.0  # share of the jobs that take ten times as long
    slow: Span | None = None  # the jobs' backend takes three times as long
    capacity: int | None = None  # the backend serves at most so many jobs at once in that span
    blind: tuple[Span, ...] = field(default=())
    deploys: tuple[Span, ...] = field(default=())

    def arrivals(self, seed: int) -> Iterator[tuple[float, float]]:
        """Yield (instant, seconds of service), a Poisson process thinned to the rate."""
        draw = random.Random(f"{self.name} {seed}")
        at = 0.0
        dump = self.dump
        while True:
            at += draw.expovariate(self.most)
            if dump is not None and at >= dump[0]:
                for _ in range(dump[1]):
                    yield dump[0], self._run_time(draw)
                dump = None
            if at >= self.lasts_s:
                return
            if draw.random() * self.most < self.rate(at):
                yield at, self._run_time(draw)

    def _run_time(self, draw: random.Random) -> float:
        seconds = draw.lognormvariate(math.log(SERVICE_S) - _SIGMA**2 / 2, _SIGMA)
        return seconds * (10 if self.poison and draw.random() < self.poison else 1)


def _flash(at: float) -> float:
    return 100.0 if 30 * _MINUTE <= at < 35 * _MINUTE else 10.0


def _day(at: float) -> float:
    return 35.0 - 30.0 * math.cos(2 * math.pi * at / LASTS_S)


def _bursts(at: float) -> float:
    return 80.0 if at % (4 * _MINUTE) >= 3 * _MINUTE else 5.0


def _steady(_: float) -> float:
    return 40.0


def _quiet(_: float) -> float:
    return 10.0


TRACES: tuple[Trace, ...] = (
    Trace(name="flash", says="ten times the load for five minutes", rate=_flash, most=100),
    Trace(name="day", says="a day's curve in 90 minutes", rate=_day, most=65),
    Trace(
        name="bursts", says="sixteen times the load for one minute in four", rate=_bursts, most=80
    ),
    Trace(name="steady", says="the same load throughout", rate=_steady, most=40),
    Trace(name="dump", says="8 000 jobs at once", rate=_quiet, most=10, dump=(1_800.0, 8_000)),
    Trace(
        name="poison",
        says="one job in five takes ten times as long",
        rate=_quiet,
        most=10,
        poison=0.2,
    ),
    Trace(
        name="downstream",
        says="five minutes in which the backend serves eight jobs at once, three times slower",
        rate=_quiet,
        most=10,
        slow=(1_800.0, 2_100.0),
        capacity=8,
    ),
    Trace(
        name="gap",
        says="the flash, with one minute without metrics",
        rate=_flash,
        most=100,
        blind=((1_810.0, 1_870.0),),
    ),
    Trace(
        name="deploy",
        says="the flash, right after a deploy of two minutes",
        rate=_flash,
        most=100,
        deploys=((1_740.0, 1_860.0),),
    ),
)
