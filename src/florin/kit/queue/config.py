"""Config: what a queue is, which kinds of job it has, which of them the clock asks for."""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from florin.kit.queue.job import Continue, QueuedJob

LEASE = timedelta(seconds=10)  # a worker that was killed: its jobs run again this much later
ATTEMPTS = 3
BACK_OFF_S = 2.0
BACK_OFF_MAX_S = 3600.0

# What does a job. None: it is done. Again: a slice of it is done, the next one later.
Verb = Callable[[QueuedJob, Any], Awaitable[Continue | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """A kind of job: the verb that does it, and the newest version of its payload that it reads."""

    run: Verb
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """The rules of a queue. Times in seconds.

    `importance`: the lower the sooner, when workers are busy. `at_once`, `per_second`: limits for
    the whole fleet. `at_once_here`: for one worker, so that long jobs leave room for the others.
    `at_once_merchant`: of one merchant, so that the others find room; only beside `at_once`, whose
    claims come one after the other. Whatever the limits, merchants take turns.
    `objective_s`: within which a job should begin; None where there is no hurry.
    """

    name: str
    importance: int
    kinds: Mapping[str, JobType] = field(default_factory=dict[str, JobType])
    attempts: int = ATTEMPTS
    back_off_s: float = BACK_OFF_S
    timeout_s: float = 30.0
    max_running: int | None = None
    max_running_per_worker: int | None = None
    at_once_merchant: int | None = None
    per_second: float | None = None
    objective_s: float | None = None

    def __post_init__(self) -> None:
        if self.at_once_merchant is not None and self.max_running is None:
            raise ValueError(f"queue {self.name}: at_once_merchant needs at_once")

    @property
    def limited(self) -> bool:
        """Whether a job may have to wait for another one of the queue to end."""
        return self.max_running is not None or self.max_running_per_worker is not None

    def delay(self, attempts: int) -> timedelta:
        """How long to wait after that many attempts: doubled each time, and never in step."""
        seconds = min(self.back_off_s * 2 ** (attempts - 1), BACK_OFF_MAX_S)
        return timedelta(seconds=seconds * random.uniform(1, 1.5))  # noqa: S311 -- not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job that the clock asks for: five fields of cron, in UTC."""

    name: str
    cron: str
    queue: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Who is told of messages: a topic, or all that begin alike (`card.*`)."""

    topic: str
    queue: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPlan:
    """Everything a worker does: the page that declares it is its only source."""

    queues: tuple[QueueConfig, ...]
    schedules: tuple[Schedule, ...] = ()
    followers: tuple[Follower, ...] = ()
    lease: timedelta = LEASE

    def queue(self, name: str) -> QueueConfig:
        return next(queue for queue in self.queues if queue.name == name)
