"""Watchdog: the supervisor's own tasks. A task that ends with an error is counted, reported and
restarted: otherwise its part would not be supervised any more.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from florin.kit.observability import error_reports
from florin.ops.system.console import say

_METRIC = "florin_supervisor_task_errors_total"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0


class Watchdog:
    """Runs tasks and counts their errors by the task's name."""

    def __init__(self) -> None:
        self.errors = Counter[str]()

    def watch(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run a coroutine function as a task until cancelled; restart it whenever it ends."""
        return asyncio.create_task(self._keep(name, run), name=name)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await run()
                self.report(name, RuntimeError("the task returned"))
            except (Exception, asyncio.CancelledError) as error:
                if cancelled(error):
                    raise
                self.report(name, error)
            if asyncio.get_running_loop().time() - begun > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def report(self, name: str, error: BaseException) -> None:
        """Count an unexpected error and log where it was raised."""
        self.errors[name] += 1
        error_reports.report_error(error, {"event": "a task of the supervisor failed"})
        say(f"Error: the task '{name}' failed: {described(error)}. It is restarted.")

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format; the sum exists before the first error."""
        lines = [
            f"# HELP {_METRIC} Unexpected errors of the supervisor's own tasks.",
            f"# TYPE {_METRIC} counter",
            f'{_METRIC}{{task="any"}} {self.errors.total()}',
        ]
        lines += [f'{_METRIC}{{task="{name}"}} {n}' for name, n in sorted(self.errors.items())]
        return "\n".join(lines) + "\n"


def cancelled(error: BaseException) -> bool:
    """Return whether the current task was cancelled: a bug in it can raise the same error."""
    me = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and me is not None and bool(me.cancelling())


def described(error: BaseException) -> str:
    """Return the error and the place in the code where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{error!r}{where}"
