"""Autoscaler: read the queues, decide the number of workers, and start or stop workers."""

import asyncio
import os
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from florin.kit.postgres.database import PoolLimits
from florin.kit.postgres.function_sets import use_installed_functions
from florin.kit.queue import stats
from florin.ops.autoscaling import decision_log
from florin.ops.autoscaling.queue_reading import failed_share, queue_load
from florin.ops.fleet import desired_state, operation_lock
from florin.ops.planning import autoscaling
from florin.ops.planning.autoscaling import (
    AutoscalerState,
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
_REST_S = 30.0  # after a failed start


class Autoscaler:
    """Scales the workers; keeps the state between readings, and the wanted number for metrics."""

    def __init__(self, running: FleetContext) -> None:
        self._running = running
        self._memory = AutoscalerState()
        self._limits = running.spec.limits or ScalingLimits(
            slots=SLOTS, most=min(_MOST, 2 * (os.cpu_count() or 1)), fallback=1
        )
        self._busy: dict[str, int] = {}
        self._noted: tuple[float, str] = (0.0, "")
        self._failed, self._rests_until = 0, 0.0
        self._trouble = ""
        self.wanted = len(running.workers.there())
        self.errors = 0  # readings that failed

    async def watch(self) -> None:
        """Read and scale every few seconds, unless the operator set a number."""
        while True:
            try:
                fixed = desired_state.load_desired_state(self._running.home).workers
                if fixed is not None:
                    self.wanted, self._memory = fixed, AutoscalerState()
                if fixed is not None or await self._scale_once():
                    self._clear_failure()
            except (OperatorError, OSError) as error:  # a full disk, no port: tried again
                self._record_failure(str(error))
            except Exception as error:  # noqa: BLE001 -- a bug must not end the autoscaler
                last = traceback.extract_tb(error.__traceback__)[-1]
                self._record_failure(f"{error!r} ({Path(last.filename).name}:{last.lineno})")
            await asyncio.sleep(self._running.spec.scale_every_s)

    def metrics(self) -> str:
        name, errors = "florin_workers_wanted", "florin_scaling_errors_total"
        most = "florin_workers_limit"
        return (
            f"# HELP {name} The wanted number of workers.\n# TYPE {name} gauge\n"
            f"{name} {self.wanted}\n"
            f"# HELP {most} The number of workers up to which load adds more.\n"
            f"# TYPE {most} gauge\n{most} {self._limits.most}\n"
            f"# HELP {errors} Failed readings of the queues; the number of workers was not"
            f" changed.\n# TYPE {errors} counter\n{errors} {self.errors}\n"
        )

    def _record_failure(self, trouble: str) -> None:
        """Count a failed reading; log it once, and show it in the status as long as it lasts."""
        self.errors += 1
        if trouble != self._trouble:
            self._trouble = trouble
            say(f"Error: the number of workers cannot be adjusted: {trouble}")
            self._set_note(f"the number of workers cannot be adjusted: {trouble}")

    def _clear_failure(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._set_note("")

    def _set_note(self, note: str) -> None:
        me = self._running.fleet.fleet.part("supervisor")
        if me is not None:
            self._running.fleet.state.record(replace(me, note=note))

    async def _scale_once(self) -> bool:
        """Read the queues once and scale; return whether they could be read."""
        reading = await self._read()
        if desired_state.load_desired_state(self._running.home).workers is not None:
            return True  # the operator has set a number in the meantime
        decision, self._memory = autoscaling.decide_workers(self._limits, self._memory, reading)
        self.wanted = decision.workers
        there = len(self._running.workers.there())
        self._note(decision, there)
        # During another change nothing is scaled; the next reading after it decides again.
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
            say(f"Scaling to {wanted} workers: starting {', '.join(names)}.")
        elif wanted < there:
            leaving = self._least_busy(there - wanted)
            say(f"Scaling to {wanted} workers: stopping {', '.join(leaving)}.")
            workers.shrink(leaving)

    def _least_busy(self, count: int) -> list[str]:
        """Return the names of the least busy workers by their last heartbeat, the newest first."""
        parts = sorted(
            self._running.workers.there(),
            key=lambda part: (self._busy.get(part.name, SLOTS), -part_number(part.name)),
        )
        return [part.name for part in parts[:count]]

    async def _read(self) -> ScalingReading | None:
        """Read the queues on a separate connection; None when that fails."""
        pool = PoolLimits(self._running.topology.database)
        fleet = self._running.fleet.fleet
        try:
            async with asyncio.timeout(_WITHIN_S), open_session(pool.dsn) as connection:
                await use_installed_functions(connection)
                facts = await stats.read_queues(connection)
                crew = await stats.read_workers(connection)
                if self._running.spec.limits is None:
                    spared = len(fleet.of("api")) + 1
                    replicas = self._running.topology.replicas
                    room = await connection_budget.query_budget(
                        connection, pool.connections, spared, 0, replicas=replicas
                    )
                    self._limit(room.workers_max)
        except (ValueError, *NotYet) as error:
            self._record_failure(f"the queues cannot be read ({type(error).__name__}: {error})")
            return None
        self._busy = {each.name: each.busy for each in crew if not each.silent}
        there = self._running.workers.there()
        return ScalingReading(
            at=time.monotonic(),
            loads=tuple(queue_load(queue) for queue in facts),
            workers=len(there),
            starting=sum(part.state == "starting" for part in there),
            done=sum(queue.completions_30s for queue in facts),
            failed=failed_share(facts),
            deploying=operation_lock.load_operation(self._running.home) is not None,
        )

    def _limit(self, room: int) -> None:
        most = max(1, min(_MOST, 2 * (os.cpu_count() or 1), room))
        if most != self._limits.most:
            self._limits = msgspec.structs.replace(self._limits, most=most, fallback=min(2, most))

    def _note(self, decision: ScalingDecision, there: int) -> None:
        """Log a decision that changes something; one that does not, only once a minute."""
        at, reason = self._noted
        now = time.monotonic()
        if decision.workers == there and decision.reason == reason and now - at < _NOTE_EVERY_S:
            return
        self._noted = (now, decision.reason)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        decision_log.append_decision(
            self._running.home, decision_log.DecisionEntry(at=stamp, there=there, decision=decision)
        )
