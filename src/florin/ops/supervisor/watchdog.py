"""Watchdog: the supervisor's own tasks. One that ends by an error is counted, reported, and started
again: without it what the task looks after would never be looked after again.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from florin.ops.system.console import say

_METRIC = "florin_supervisor_task_errors_total"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0


class Watchdog:
    """Counts the errors of tasks by the task's name."""

    def __init__(self) -> None:
        self.errors = Counter[str]()

    def watch(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run it as a task until that is cancelled, however often it ends by itself."""
        return asyncio.create_task(self._keep(name, run), name=name)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await run()
                self.report(name, RuntimeError("it returned"))
            except (Exception, asyncio.CancelledError) as error:
                if cancelled(error):
                    raise
                self.report(name, error)
            if asyncio.get_running_loop().time() - begun > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def report(self, name: str, error: BaseException) -> None:
        """Count an error that nobody expected, and say where it was raised."""
        self.errors[name] += 1
        say(f"Error: the task {name} was ended by {described(error)}; what it did is tried again.")

    def metrics(self) -> str:
        """In Prometheus' text format; the sum is there before the first error."""
        lines = [
            f"# HELP {_METRIC} Unexpected errors of the supervisor's own tasks.",
            f"# TYPE {_METRIC} counter",
            f'{_METRIC}{{task="any"}} {self.errors.total()}',
        ]
        lines += [f'{_METRIC}{{task="{name}"}} {n}' for name, n in sorted(self.errors.items())]
        return "\n".join(lines) + "\n"


def cancelled(error: BaseException) -> bool:
    """Say whether the current task was cancelled: a fault in it can raise the same error."""
    me = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and me is not None and bool(me.cancelling())


def described(error: BaseException) -> str:
    """The error, and the last place in the code that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{error!r}{where}"
