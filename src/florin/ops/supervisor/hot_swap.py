"""Hot swap: a part's next process starts while the current one runs, and takes over its port.

The old process finishes its connections and ends by itself.
"""

import asyncio
import signal
import time
from dataclasses import replace
from functools import partial

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Part
from florin.ops.supervisor import start_stop
from florin.ops.supervisor.launch import StartedProcess, launch_process
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say


async def swap_part(home: Home, part: Part, want: PartSpec) -> tuple[Part, StartedProcess] | None:
    """Start the next process; return it once it answers, None when its start failed."""
    if want.relief is None or part.process is None:
        return None
    await asyncio.to_thread(want.prepare)
    started = launch_process(home, want.relief.launch(part.process.pid))
    process = started.process
    try:
        answers = partial(want.relief.answers, 0 if process is None else process.pid)
        await start_stop.wait_until_ready(home, replace(want, ready=answers), started)
        await want.settle()
    except BaseException as error:
        if process is not None:
            processes.send_signal(process, signal.SIGKILL)
            await processes.wait_gone(process)
            started.ending()
        if not isinstance(error, PartEnded | OperatorError):
            raise
        say(f"{want.name} could not be replaced while it runs: {error}.")
        return None
    assert process is not None
    now = replace(part, pid=process.pid, started=process.started, since=time.time(), note="")
    now = replace(now, state="ready", address=want.address, release=want.release)
    now = replace(now, operations=want.operations)
    return replace(now, wiring=want.wiring), started
