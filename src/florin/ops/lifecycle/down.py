"""Down: stop a fleet in order, with or without a running supervisor."""

import asyncio
import os
import signal
import time
from dataclasses import replace

from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import find_supervisor, observe_fleet
from florin.ops.supervisor import start_stop
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say, voice
from florin.ops.system.processes import ProcessId

_WITHIN_S = 120


def stop_fleet(home: Home) -> bool:
    """Stop the fleet; False when nothing runs."""
    if not home.run.is_dir():
        return False
    fleet = observe_fleet(home)
    leader = find_supervisor(fleet)
    if leader is not None and leader.process is not None:
        asyncio.run(_ask(leader.process))
        return True
    if not any(part.process for part in fleet.parts):
        return False
    handle = home.lock()
    if handle is None:
        raise OperatorError(f"A supervisor of {home.path} is starting; try again in a moment.")
    try:
        asyncio.run(_stop_orphans(home))
    finally:
        os.close(handle)
    return True


async def _ask(process: ProcessId) -> None:
    begun = time.monotonic()
    try:
        processes.send_signal(process, signal.SIGTERM)
    except PermissionError:
        raise OperatorError(
            f"The supervisor (pid {process.pid}) belongs to another user; run this command as that"
            " user."
        ) from None
    ended = asyncio.ensure_future(processes.wait_gone(process))
    while time.monotonic() - begun < _WITHIN_S:
        voice.status(f"Stopping … {time.monotonic() - begun:.0f} s")
        done, _ = await asyncio.wait({ended}, timeout=0.5)
        if done:
            voice.clear()
            return
    ended.cancel()
    raise OperatorError(
        f"The supervisor (pid {process.pid}) still runs after {_WITHIN_S} s; see its log. To stop"
        f" all parts at once, send it another signal: kill -TERM {process.pid}."
    )


async def _stop_orphans(home: Home) -> None:
    """Stop the parts that a killed supervisor left running."""
    say("The supervisor is not running; stopping the remaining parts.")
    fleet = observe_fleet(home)
    for part in (part for alike in start_stop.stop_order(fleet) for part in alike):
        assert part.process is not None
        begun = time.monotonic()
        try:
            # The balancer stopped first: no new requests arrive.
            await start_stop.stop_process(part.process, part.role, started=None, drained=True)
        except PermissionError:
            raise OperatorError(
                f"{part.name} belongs to another user; run this command as that user."
            ) from None
        fleet = fleet.having(part.stopped())
        home.write_fleet(fleet)
        say(f"Stopped {part.name}: {time.monotonic() - begun:.1f} s")
    leader = fleet.part("supervisor")
    if leader is not None:
        home.write_fleet(fleet.having(replace(leader.stopped(), note="")))
