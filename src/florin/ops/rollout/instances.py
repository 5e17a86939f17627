"""Instances: carry out the steps of a plan on the API processes behind the balancer."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from florin.ops.fleet import desired_state
from florin.ops.fleet.model import Part
from florin.ops.haproxy.balancer import Balancer, InstanceState
from florin.ops.haproxy.runtime_api import HaproxyUnreachable
from florin.ops.planning.rollout import Crew, ObservedProcess, ReleaseMark, RolloutStep
from florin.ops.rollout import soak
from florin.ops.rollout.gate import GateProcess
from florin.ops.rollout.latency import LatencyWindows
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.supervisor.supervisor import Supervisor
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError

_READY = 200
_POLL_S = 0.1
_TRIES = 3
_SOAK_EVERY_S = 0.25
_UP_WITHIN_S = 10.0
_QUIET_WITHIN_S = 35.0  # the longest time of a request; stopping the instance waits as well


class InstanceProcesses:
    """The API instances, with the supervisor that runs them and the balancer in front."""

    def __init__(
        self, fleet: Supervisor, balancer: Balancer, make: Callable[[str, ReleaseMark], PartSpec]
    ) -> None:
        self._fleet = fleet
        self._balancer = balancer
        self._make = make

    async def crew(self, *, standby: bool = False) -> Crew:
        """Observe the instances whose process runs; those of the standby only if `standby`."""
        kept = desired_state.load_desired_state(self._fleet.home)
        spared = kept.standby.marks if kept.standby is not None and not standby else {}
        parts = [part for part in self._fleet.fleet.of("api") if part.process is not None]
        parts = [part for part in parts if part.name not in spared]
        ready = await asyncio.gather(*(_ready(part, tries=_TRIES) for part in parts))
        held = kept.drained
        inside = {(one.name, one.address) for one in await self._seen() if one.admin == "ready"}
        return tuple(
            ObservedProcess(
                name=part.name,
                mark=ReleaseMark(part.release, part.generation),
                ready=serves,
                admitted=(part.name, part.address) in inside if inside else not part.drained,
                held=held.get(part.name) == part.generation,
            )
            for part, serves in zip(parts, ready, strict=True)
        )

    async def take(self, step: RolloutStep, soak_s: float, gate: GateProcess | None = None) -> None:
        """Carry out one step. Raises OperatorError or PartEnded when it fails.

        `gate` tests instances before they get requests.
        """
        match step.verb:
            case "check":
                await self._check(step.names, gate)
            case "switch":
                await self.switch(step.names)
            case "start":
                assert step.mark is not None
                wanted = [self._make(name, step.mark) for name in step.names]
                await self._fleet.start_all(wanted, drained=True)
            case "admit":
                await self._admit_all(step.names, gate)
            case "watch":
                await self._watch(step.names, soak_s)
            case "drain":
                await self._drain_all(step.names)
            case "stop":
                await asyncio.gather(*(self._stop(name) for name in step.names))

    async def _check(self, names: Sequence[str], gate: GateProcess | None) -> None:
        assert gate is not None
        for name in names:
            await gate.check(name, self._part(name).address or "")

    async def _admit_all(self, names: Sequence[str], gate: GateProcess | None) -> None:
        if gate is not None:
            await self._check(names, gate)
        for name in names:
            await self.admit(name)
        await self._until_up(names)

    async def _drain_all(self, names: Sequence[str]) -> None:
        for name in names:
            await self.drain(name)
        await self._until_quiet(names)

    async def admit(self, name: str) -> None:
        part = self._part(name)
        # A balancer that is restarting reads the saved state instead.
        with contextlib.suppress(HaproxyUnreachable):
            await self._balancer.admit(name, part.address or "")
        self._fleet.state.set_drained(name, drained=False)

    async def drain(self, name: str) -> None:
        """Send an instance no new requests from now on; it may have died in the meantime."""
        with contextlib.suppress(HaproxyUnreachable):
            await self._balancer.drain(name)
        self._fleet.state.set_drained(name, drained=True)

    async def switch(self, names: Sequence[str]) -> None:
        """Send all new requests to these instances and none to any other, in one change.

        The other instances run on and finish their requests.
        """
        admit = {name: self._part(name).address or "" for name in names}
        parts = [part for part in self._fleet.fleet.of("api") if part.process is not None]
        drain = [part.name for part in parts if part.name not in admit]
        # A balancer that is restarting reads the saved state instead.
        with contextlib.suppress(HaproxyUnreachable):
            await self._balancer.switch_servers(admit, drain)
        for part in parts:
            self._fleet.state.set_drained(part.name, drained=part.name not in admit)
        await self._until_up(names)

    async def _stop(self, name: str) -> None:
        await self._fleet.stop(name)
        with contextlib.suppress(HaproxyUnreachable):
            await self._balancer.forget(name)
        self._fleet.state.forget(name)

    async def _until_up(self, names: Iterable[str]) -> None:
        """Wait until the balancer's health checks pass."""
        wanted, deadline = set(names), time.monotonic() + _UP_WITHIN_S
        while time.monotonic() < deadline:
            up = {one.name for one in await self._seen() if one.check == "up"}
            if wanted <= up:
                return
            await asyncio.sleep(_POLL_S)
        raise OperatorError(
            f"The balancer's health checks of {', '.join(sorted(wanted))} did not pass within"
            f" {_UP_WITHIN_S:.0f} s"
        )

    async def _until_quiet(self, names: Iterable[str]) -> None:
        """Wait until the instances have no open requests, up to the longest time of a request."""
        wanted, deadline = set(names), time.monotonic() + _QUIET_WITHIN_S
        while time.monotonic() < deadline:
            if not any(one.sessions for one in await self._seen() if one.name in wanted):
                return
            await asyncio.sleep(_POLL_S)

    async def _watch(self, names: tuple[str, ...], soak_s: float) -> None:
        """Watch new instances under real requests for `soak_s`. Raises PartEnded when they fail."""
        new = [self._part(name) for name in names]
        others = [
            part
            for part in self._fleet.fleet.of("api")
            if part.process is not None and part.generation != new[0].generation
        ]
        fresh = [part.metrics_address or "" for part in new]
        before = [part.metrics_address or "" for part in others]
        new_then, old_then = await soak.read_counts(fresh), await soak.read_counts(before)
        windows = LatencyWindows(new_then, old_then)
        until = time.monotonic() + soak_s
        while True:
            left = until - time.monotonic()
            await asyncio.sleep(max(0.0, min(left, _SOAK_EVERY_S)))
            for part in new:
                now = self._fleet.fleet.part(part.name)
                if now is None or now.process != part.process:
                    raise PartEnded(f"{part.name} ended soon after it began to serve")
                if not await _ready(part):
                    raise PartEnded(f"{part.name} was no longer ready soon after it began to serve")
            if soak_s:
                new_now, old_now = await soak.read_counts(fresh), await soak.read_counts(before)
                seen, compared = new_now.since(new_then), old_now.since(old_then)
                wrong = soak.soak_verdict(seen, compared, old_then)
                wrong = wrong or windows.add(new_now, old_now)
                if wrong is None and soak.refuses_alone(seen, compared) and await _healthy(others):
                    wrong = f"{seen.busy:.0f} of {seen.total} requests were refused (503)"
                if wrong is not None:
                    raise PartEnded(f"{', '.join(names)}: {wrong}")
            if left <= _SOAK_EVERY_S:
                return

    async def _seen(self) -> tuple[InstanceState, ...]:
        """Return the instances as the balancer sees them; none while it restarts."""
        try:
            return await self._balancer.observe()
        except HaproxyUnreachable:
            return ()

    def _part(self, name: str) -> Part:
        part = self._fleet.fleet.part(name)
        if part is None or part.process is None:
            raise OperatorError(f"{name} is not running. Check florin status.")
        return part


async def _healthy(parts: Sequence[Part]) -> bool:
    """Return whether there are such instances, and the database answers all of them."""
    answers = [await http_probe.probe(part.address or "", "/health") for part in parts]
    if not answers or None in answers:
        return False
    documents: list[Any] = [answer.json() for answer in answers if answer is not None]
    try:
        return all(document["checks"]["database"] is True for document in documents)
    except (KeyError, TypeError):
        return False


async def _ready(part: Part, *, tries: int = 1) -> bool:
    """Probe an instance; with several tries one that is only slow does not count as broken."""
    for attempt in range(tries):
        answer = await http_probe.probe(part.address or "", "/health/ready")
        if answer is not None and answer.status == _READY:
            return True
        if attempt + 1 < tries:
            await asyncio.sleep(_POLL_S)
    return False
