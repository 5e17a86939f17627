"""Config: queues, their kinds of jobs, and the schedules of jobs."""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from florin.kit.queue.job import Continue, QueuedJob

LEASE = timedelta(seconds=10)  # the jobs of a killed worker run again after this time
ATTEMPTS = 3
BACK_OFF_S = 2.0
BACK_OFF_MAX_S = 3600.0

# The function of a job. None: the job is done. Continue: a part is done, the next one runs later.
Verb = Callable[[QueuedJob, Any], Awaitable[Continue | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """A kind of job: its function, and the newest payload version that the function reads."""

    run: Verb
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """The rules of a queue. Times in seconds.

    `importance`: queues with lower values are served first when workers are busy. `max_running`,
    `per_second`: limits for the whole fleet. `max_running_per_worker`: the limit of one worker, so
    that long jobs leave slots for others. `max_running_per_merchant`: the limit of one merchant, so
    that others get slots; requires `max_running`, which serializes claims. Merchants always take
    turns. `own_slots`: slots of its own in each worker, in addition to those that the others share:
    for jobs that wait for another system, so that they hold no one up while it is slow.
    `objective_s`: the time within which a job should start; None: no objective.
    """

    name: str
    importance: int
    kinds: Mapping[str, JobType] = field(default_factory=dict[str, JobType])
    attempts: int = ATTEMPTS
    back_off_s: float = BACK_OFF_S
    timeout_s: float = 30.0
    max_running: int | None = None
    max_running_per_worker: int | None = None
    max_running_per_merchant: int | None = None
    per_second: float | None = None
    own_slots: int | None = None
    objective_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_running_per_merchant is not None and self.max_running is None:
            raise ValueError(f"queue {self.name}: max_running_per_merchant requires max_running")

    @property
    def limited(self) -> bool:
        """Whether a job may have to wait until another job of the queue ends."""
        return self.max_running is not None or self.max_running_per_worker is not None

    def delay(self, attempts: int) -> timedelta:
        """The delay after that many attempts: exponential back-off with jitter."""
        seconds = min(self.back_off_s * 2 ** (attempts - 1), BACK_OFF_MAX_S)
        return timedelta(seconds=seconds * random.uniform(1, 1.5))  # noqa: S311 -- not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job that runs on a schedule: five cron fields, in UTC."""

    name: str
    cron: str
    queue: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """A subscription of a queue to messages: a topic, or all with a prefix (`card.*`)."""

    topic: str
    queue: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPlan:
    """All queues, schedules and subscriptions of the workers."""

    queues: tuple[QueueConfig, ...]
    schedules: tuple[Schedule, ...] = ()
    followers: tuple[Follower, ...] = ()
    lease: timedelta = LEASE

    def queue(self, name: str) -> QueueConfig:
        return next(queue for queue in self.queues if queue.name == name)
