"""Wanted workers: the autoscaling decision for workers that another system starts, such as KEDA.

`florin up` starts and stops its workers itself (`autoscaler`). In a cluster the operator process
only decides, with the same pure function, and serves the number; it answers 503 instead of a number
while it cannot read the queues, since a wrong 0 would stop workers.
"""

import asyncio
import time
import traceback
from pathlib import Path

import msgspec

from florin.kit.observability import logging
from florin.kit.postgres.database import PoolLimits
from florin.kit.postgres.function_sets import use_installed_functions
from florin.kit.queue import stats
from florin.ops.autoscaling.queue_reading import failed_share, queue_load
from florin.ops.planning import autoscaling
from florin.ops.planning.autoscaling import AutoscalerState, ScalingLimits, ScalingReading
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.topology.worker_process import SLOTS

_EVERY_S, _WITHIN_S = 5.0, 4.0
_log = logging.get_logger()


class WantedWorkers:
    """Decides every few seconds how many workers there should be, at most `most`."""

    def __init__(self, database_url: str, most: int, *, every_s: float = _EVERY_S) -> None:
        self._dsn = PoolLimits(database_url).dsn
        self._every_s = every_s
        self._limits = ScalingLimits(slots=SLOTS, most=most, fallback=min(2, most))
        self._memory = AutoscalerState()
        self._trouble = ""
        self.wanted: int | None = None  # None while the queues cannot be read
        self.errors = 0  # readings that failed

    async def run(self) -> None:
        """Decide until cancelled."""
        while True:
            try:
                await self._decide_once()
            except Exception as error:  # noqa: BLE001 -- a bug must not end the decisions
                last = traceback.extract_tb(error.__traceback__)[-1]
                self._record_failure(f"{error!r} ({Path(last.filename).name}:{last.lineno})")
            await asyncio.sleep(self._every_s)

    def document(self) -> bytes | None:
        """Return the number as JSON for the scaler; None while it is unknown."""
        return None if self.wanted is None else msgspec.json.encode({"wanted": self.wanted})

    def metrics(self) -> str:
        """Return the metrics that `florin up` has of its own decisions."""
        number = "" if self.wanted is None else f"florin_workers_wanted {self.wanted}\n"
        return (
            "# HELP florin_workers_wanted The wanted number of workers.\n"
            f"# TYPE florin_workers_wanted gauge\n{number}"
            "# HELP florin_workers_limit The number of workers up to which load adds more.\n"
            f"# TYPE florin_workers_limit gauge\nflorin_workers_limit {self._limits.most}\n"
            "# HELP florin_scaling_errors_total Failed readings of the queues; the number of"
            " workers was not changed.\n"
            "# TYPE florin_scaling_errors_total counter\n"
            f"florin_scaling_errors_total {self.errors}\n"
        )

    async def _decide_once(self) -> None:
        reading = await self._read()
        decision, self._memory = autoscaling.decide_workers(self._limits, self._memory, reading)
        if reading is None:
            self.wanted = None
            return
        if decision.workers != self.wanted:
            _log.info("workers wanted", wanted=decision.workers, reason=decision.reason)
        self.wanted, self._trouble = decision.workers, ""

    async def _read(self) -> ScalingReading | None:
        try:
            async with asyncio.timeout(_WITHIN_S), open_session(self._dsn) as connection:
                await use_installed_functions(connection)
                facts = await stats.read_queues(connection)
                crew = await stats.read_workers(connection)
        except (ValueError, *NotYet) as error:
            self._record_failure(f"{type(error).__name__}: {error}")
            return None
        return ScalingReading(
            at=time.monotonic(),
            loads=tuple(queue_load(queue) for queue in facts),
            workers=sum(not each.silent and not each.stopping for each in crew),
            done=sum(queue.completions_30s for queue in facts),
            failed=failed_share(facts),
        )

    def _record_failure(self, trouble: str) -> None:
        self.errors += 1
        self.wanted = None
        if trouble != self._trouble:
            self._trouble = trouble
            _log.error("the queues cannot be read", detail=trouble)
