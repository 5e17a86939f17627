"""Autoscaler: reads the queues, asks how many workers there should be, and has it so."""

import asyncio
import os
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from florin.kit.postgres.database import PoolLimits
from florin.kit.queue import stats
from florin.kit.queue.stats import QueueFacts
from florin.ops.autoscaling import decision_log
from florin.ops.fleet import desired_state, operation_lock
from florin.ops.planning import autoscaling
from florin.ops.planning.autoscaling import (
    AutoscalerState,
    QueueLoad,
    ScalingDecision,
    ScalingLimits,
    ScalingReading,
)
from florin.ops.postgres import connection_budget
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.rollout.executor import FleetContext, part_number
from florin.ops.system.console import OperatorError, say
from florin.ops.topology.worker_process import SLOTS

_MOST = 8
_WITHIN_S = 4.0
_NOTE_EVERY_S = 60.0
_REST_S = 30.0  # after a start that came to nothing
_SERVICE_S = 0.5  # of a job of a kind that none is known of yet


class Autoscaler:
    """Holds what is remembered between two readings, and the wanted number for the metrics."""

    def __init__(self, running: FleetContext) -> None:
        self._running = running
        self._memory = AutoscalerState()
        self._limits = running.options.limits or ScalingLimits(
            slots=SLOTS, most=min(_MOST, 2 * (os.cpu_count() or 1)), fallback=1
        )
        self._busy: dict[str, int] = {}
        self._noted: tuple[float, str] = (0.0, "")
        self._failed, self._rests_until = 0, 0.0
        self._trouble = ""
        self.wanted = len(running.workers.there())
        self.errors = 0  # looks that came to nothing

    async def watch(self) -> None:
        """Look every few seconds, as long as no number is asked for."""
        while True:
            try:
                fixed = desired_state.load_desired_state(self._running.home).workers
                if fixed is not None:
                    self.wanted, self._memory = fixed, AutoscalerState()
                if fixed is not None or await self._look():
                    self._quiet()
            except (OperatorError, OSError) as error:  # a full disk, no port: it is asked again
                self._loud(str(error))
            except Exception as error:  # noqa: BLE001 -- it must not end with the first bug
                last = traceback.extract_tb(error.__traceback__)[-1]
                self._loud(f"{error!r} ({Path(last.filename).name}:{last.lineno})")
            await asyncio.sleep(self._running.options.scale_every_s)

    def metrics(self) -> str:
        name, errors = "florin_workers_wanted", "florin_scaling_errors_total"
        return (
            f"# HELP {name} How many workers there should be.\n# TYPE {name} gauge\n"
            f"{name} {self.wanted}\n"
            f"# HELP {errors} Looks at the queues that came to nothing: the number of workers"
            f" stayed.\n# TYPE {errors} counter\n{errors} {self.errors}\n"
        )

    def _loud(self, trouble: str) -> None:
        """Count a look that came to nothing; say so once, and as long as it lasts in the status."""
        self.errors += 1
        if trouble != self._trouble:
            self._trouble = trouble
            say(f"Error: the number of workers stays as it is: {trouble}")
            self._tell(f"the number of workers stays as it is: {trouble}")

    def _quiet(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._tell("")

    def _tell(self, note: str) -> None:
        me = self._running.fleet.fleet.part("supervisor")
        if me is not None:
            self._running.fleet.record(replace(me, note=note))

    async def _look(self) -> bool:
        """Return whether there was anything to be seen."""
        reading = await self._read()
        if desired_state.load_desired_state(self._running.home).workers is not None:
            return True  # an operator asked for a number meanwhile
        decision, self._memory = autoscaling.decide_workers(self._limits, self._memory, reading)
        self.wanted = decision.workers
        there = len(self._running.workers.there())
        self._note(decision, there)
        # Who changes the fleet has it to himself; what is wanted then is seen again afterwards.
        if operation_lock.load_operation(self._running.home) is None:
            self._drive(decision.workers, there)
        return reading is not None

    def _drive(self, wanted: int, there: int) -> None:
        workers, now = self._running.workers, time.monotonic()
        if workers.failed > self._failed:
            self._failed, self._rests_until = workers.failed, now + _REST_S
        if wanted > there and now >= self._rests_until:
            names = workers.grow(
                wanted - there, desired_state.load_desired_state(self._running.home).mark
            )
            say(f"The work needs {wanted} workers; starting {', '.join(names)}.")
        elif wanted < there:
            leaving = self._least_busy(there - wanted)
            say(f"The work needs {wanted} workers; {', '.join(leaving)} may go.")
            workers.shrink(leaving)

    def _least_busy(self, count: int) -> list[str]:
        """By what they said last; of those alike the latest."""
        parts = sorted(
            self._running.workers.there(),
            key=lambda part: (self._busy.get(part.name, SLOTS), -part_number(part.name)),
        )
        return [part.name for part in parts[:count]]

    async def _read(self) -> ScalingReading | None:
        """Read the queues on a connection of its own; None when that is not possible."""
        pool = PoolLimits(self._running.topology.database)
        fleet = self._running.fleet.fleet
        try:
            async with asyncio.timeout(_WITHIN_S), open_session(pool.dsn) as connection:
                facts = await stats.read_queues(connection)
                crew = await stats.read_workers(connection)
                if self._running.options.limits is None:
                    spared = len(fleet.of("api")) + 1
                    replicas = self._running.topology.replicas
                    room = await connection_budget.query_budget(
                        connection, pool.connections, spared, 0, replicas=replicas
                    )
                    self._limit(room.workers_max)
        except (ValueError, *NotYet) as error:
            self._loud(f"the queues cannot be read ({type(error).__name__}: {error})")
            return None
        self._busy = {each.name: each.busy for each in crew if not each.silent}
        there = self._running.workers.there()
        return ScalingReading(
            at=time.monotonic(),
            loads=tuple(_load(queue) for queue in facts),
            workers=len(there),
            starting=sum(part.state == "starting" for part in there),
            done=sum(queue.completions_30s for queue in facts),
            failed=_failed(facts),
            deploying=operation_lock.load_operation(self._running.home) is not None,
        )

    def _limit(self, room: int) -> None:
        most = max(1, min(_MOST, 2 * (os.cpu_count() or 1), room))
        if most != self._limits.most:
            self._limits = msgspec.structs.replace(self._limits, most=most, fallback=min(2, most))

    def _note(self, decision: ScalingDecision, there: int) -> None:
        """Write down what changes something, and what does not once a minute."""
        at, reason = self._noted
        now = time.monotonic()
        if decision.workers == there and decision.reason == reason and now - at < _NOTE_EVERY_S:
            return
        self._noted = (now, decision.reason)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        decision_log.append_decision(
            self._running.home, decision_log.DecisionEntry(at=stamp, there=there, decision=decision)
        )


def _load(queue: QueueFacts) -> QueueLoad:
    return QueueLoad(
        name=queue.name,
        waiting=0 if queue.paused else queue.waiting,
        oldest_s=0.0 if queue.paused else queue.oldest_s,
        rate=max(queue.arrivals_10s, queue.arrivals_30s),
        service_s=_SERVICE_S if queue.service_s is None else queue.service_s,
        objective_s=queue.objective_s,
        at_once=queue.at_once,
        here=queue.at_once_here,
    )


def _failed(facts: Iterable[QueueFacts]) -> float:
    """Return the share of all attempts that failed, each queue by the attempts it probably made."""
    attempts = [
        (max(q.arrivals_30s, q.completions_30s / max(0.01, 1 - q.failing)), q.failing)
        for q in facts
    ]
    total = sum(weight for weight, _ in attempts)
    return sum(weight * failing for weight, failing in attempts) / total if total else 0.0
