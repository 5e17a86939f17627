"""Compose instances: carry out the steps of a plan on the instances of a Compose project.

The steps are those of `planning`. The balancer finds containers by DNS and their health checks, so
`admit` waits until it has; a container that gets SIGTERM says at its readiness check that it stops,
serves what still arrives and ends, so `drain` is that.
"""

import asyncio
import time
from collections.abc import Sequence

from florin.ops.containers.compose_project import ApiContainer, ComposeProject
from florin.ops.containers.release_file import COLOURS, ReleaseFile, read_colour, write_colour
from florin.ops.fleet.desired_state import Colour
from florin.ops.planning.rollout import Crew, ObservedProcess, ReleaseMark, RolloutStep
from florin.ops.rollout import soak
from florin.ops.rollout.gate import GateProcess
from florin.ops.rollout.latency import LatencyWindows
from florin.ops.rollout.soak import RequestCounts
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.system.console import OperatorError

_READY = 200
_POLL_S = 0.25
_READY_WITHIN_S = 60.0
_UP_WITHIN_S = 15.0


def colour_of_name(name: str) -> Colour:
    return "green" if name.startswith("api-green-") else "blue"


class ComposeInstances:
    """The instances of a project, and its balancer."""

    def __init__(self, project: ComposeProject, release: ReleaseFile) -> None:
        self._project = project
        self._release = release

    async def crew(self, *, standby: bool = True) -> Crew:
        """Observe the instances; without `standby` only those of the colour that serves."""
        serving = read_colour(self._project.folder)
        details = [
            one for one in await self._project.containers() if standby or one.colour == serving
        ]
        there = [one for one in details if one.host]
        answers = await self._project.get([_ready_url(one) for one in there])
        ready = {
            one.id for one, (status, _) in zip(there, answers, strict=True) if status == _READY
        }
        return tuple(
            ObservedProcess(
                name=one.name,
                mark=one.mark,
                ready=one.id in ready,
                admitted=one.colour == serving and one.running,
            )
            for one in details
        )

    async def take(self, step: RolloutStep, soak_s: float, gate: GateProcess | None = None) -> None:
        """Carry out one step. Raises OperatorError or PartEnded when it fails."""
        match step.verb:
            case "start":
                assert step.mark is not None
                await self._start(step.names, step.mark)
            case "check":
                await self._check(step.names, gate)
            case "admit":
                await self._check(step.names, gate)
                await self._until_up(step.names)
            case "switch":
                await self.switch(colour_of_name(step.names[0]))
                await self._until_up(step.names)
            case "watch":
                await self._watch(step.names, soak_s)
            case "drain":
                await self._project.stop(await self._named(step.names))
            case "stop":
                await self._stop(step.names)

    async def switch(self, colour: Colour) -> None:
        """Send every new request to a colour. The file comes first: a new balancer reads it."""
        before = read_colour(self._project.folder)
        write_colour(self._project.folder, colour)
        try:
            await self._project.switch_balancer(colour)
        except OperatorError:
            write_colour(self._project.folder, before)
            raise

    async def _start(self, names: Sequence[str], mark: ReleaseMark) -> None:
        colour = colour_of_name(names[0])
        there = [one for one in await self._project.containers() if one.colour == colour]
        count = len(there) + len(names)
        self._release.put_colour(colour, mark, count)
        self._release.write()
        await self._project.start(colour, count)
        started = await self._named(names)  # by number: Compose counts on from the highest
        if missing := sorted(set(names) - {one.name for one in started}):
            raise OperatorError(f"Compose did not start {', '.join(missing)}.")
        await self._until_ready(names)

    async def _until_ready(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            details = await self._named(names)
            for one in details:
                if one.restarts or not one.running:
                    words = await self._project.last_words(one)
                    raise PartEnded(f"{one.name} ended soon after its start: {words}")
            answers = await self._project.get([_ready_url(one) for one in details])
            if all(status == _READY for status, _ in answers):
                return
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"{', '.join(names)} did not become ready within {_READY_WITHIN_S:.0f} s"
                )
            await asyncio.sleep(_POLL_S)

    async def _check(self, names: Sequence[str], gate: GateProcess | None) -> None:
        if gate is not None:
            for one in await self._named(names):
                await gate.check(one.name, one.address)

    async def _until_up(self, names: Sequence[str]) -> None:
        """Wait until the balancer's health checks of these instances pass."""
        colour, deadline = colour_of_name(names[0]), time.monotonic() + _UP_WITHIN_S
        while True:
            wanted = {one.address for one in await self._named(names)}
            states = await self._project.balancer_servers(colour)
            if wanted <= {address for address, state in states.items() if state.startswith("UP")}:
                return
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"The balancer's health checks of {', '.join(names)} did not pass within"
                    f" {_UP_WITHIN_S:.0f} s"
                )
            await asyncio.sleep(_POLL_S)

    async def _watch(self, names: Sequence[str], soak_s: float) -> None:
        """Watch new instances under real requests for `soak_s`. Raises PartEnded when they fail."""
        new = await self._named(names)
        others = [
            one
            for one in await self._project.containers()
            if one.running and one.mark != new[0].mark
        ]
        new_then, old_then = await self._counts(new), await self._counts(others)
        windows, until = LatencyWindows(new_then, old_then), time.monotonic() + soak_s
        while True:
            await asyncio.sleep(max(0.0, min(until - time.monotonic(), _POLL_S)))
            await self._still_there(new)
            if soak_s:
                new_now, old_now = await self._counts(new), await self._counts(others)
                wrong = soak.soak_verdict(
                    new_now.since(new_then), old_now.since(old_then), old_then
                )
                wrong = wrong or windows.add(new_now, old_now)
                if wrong is not None:
                    raise PartEnded(f"{', '.join(names)}: {wrong}")
            if time.monotonic() >= until:
                return

    async def _still_there(self, new: Sequence[ApiContainer]) -> None:
        """Raise PartEnded when an instance ended, was restarted, or is no longer ready."""
        now = {one.id: one for one in await self._project.containers()}
        answers = await self._project.get([_ready_url(one) for one in new])
        for one, (status, _) in zip(new, answers, strict=True):
            current = now.get(one.id)
            if current is None or not current.running or current.restarts != one.restarts:
                raise PartEnded(f"{one.name} ended soon after it began to serve")
            if status != _READY:
                raise PartEnded(f"{one.name} was no longer ready soon after it began to serve")

    async def _counts(self, containers: Sequence[ApiContainer]) -> RequestCounts:
        answers = await self._project.get([one.metrics_url for one in containers])
        total = RequestCounts()
        for status, text in answers:
            if status == _READY:
                total += soak.parse_counts(text)
        return total

    async def _stop(self, names: Sequence[str]) -> None:
        gone = await self._named(names)
        await self._project.stop(gone)
        await self._project.remove(gone)
        for colour in COLOURS:
            if not any(one.colour == colour for one in gone):
                continue
            left = [one for one in await self._project.containers() if one.colour == colour]
            self._release.put_colour(colour, self._release.mark(colour), len(left))
        self._release.write()

    async def _named(self, names: Sequence[str]) -> list[ApiContainer]:
        there = {one.name: one for one in await self._project.containers()}
        return [there[name] for name in names if name in there]


def _ready_url(one: ApiContainer) -> str:
    return f"http://{one.address}/health/ready"
