"""Observe: which parts of a fleet really run, independent of its state file."""

import time
from dataclasses import replace

from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.fleet.pid_files import recorded_process
from florin.ops.system import http_probe, processes


def observe_fleet(home: Home) -> Fleet:
    """Return the fleet's recorded state with each pid checked against the live process."""
    return Fleet(parts=tuple(_seen(home, part) for part in home.fleet().parts))


def check_processes(fleet: Fleet) -> Fleet:
    """Return the fleet with each pid checked; for a process that may not read the home."""
    return Fleet(parts=tuple(_checked(part) for part in fleet.parts))


def _checked(part: Part) -> Part:
    if part.given or part.process is None or processes.is_alive(part.process):
        return part
    ended = f"its process {part.pid} is gone"
    return part if part.state == "failed" else part.stopped(ended)


def _seen(home: Home, part: Part) -> Part:
    if part.given or part.process is not None:
        return _checked(part)
    if part.state == "starting":
        # The supervisor was killed between starting it and recording that.
        process = recorded_process(home, part.name)
        if process is not None:
            return replace(part, pid=process.pid, started=process.started, since=time.time())
        return part.stopped("it was never started")
    return part


def find_supervisor(fleet: Fleet) -> Part | None:
    """Return the supervisor if its process runs."""
    part = fleet.part("supervisor")
    return part if part is not None and part.process is not None else None


async def is_serving(part: Part) -> bool:
    """Probe whether a running part serves."""
    if part.process is None and not part.given:
        return False
    if part.role == "supervisor":
        return True
    if part.address is None:
        return True
    if part.role in ("api", "worker"):
        path = "/health/ready" if part.role == "api" else "/metrics"
        answer = await http_probe.probe(part.address, path)
        return answer is not None and answer.status == 200  # noqa: PLR2004
    return await http_probe.is_listening(part.address)
