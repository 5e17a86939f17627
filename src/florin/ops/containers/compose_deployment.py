"""Compose deployment: replace the release of a Compose project, and return to the one before.

The planner is that of the fleet on one machine. New instances get new numbers; when a step fails,
the plan back to the earlier instances is made and carried out.
"""

import asyncio
import fcntl
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager

from florin.ops.containers.compose_instances import ComposeInstances, colour_of_name
from florin.ops.containers.compose_project import ComposeProject, compose_name
from florin.ops.containers.release_file import (
    COLOURS,
    GENERATION,
    IMAGE,
    PREVIOUS,
    ReleaseFile,
    read_colour,
)
from florin.ops.containers.release_order import ReleaseOrder, ReleaseOutcome
from florin.ops.fleet.desired_state import Colour
from florin.ops.fleet.orders import OrderUndone, ReportProgress
from florin.ops.planning import blue_green, rollout
from florin.ops.planning.rollout import Crew, ReleaseMark, RolloutStep
from florin.ops.rollout.gate import COMPARED_REQUESTS, GateProcess
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.system.console import OperatorError

_MIGRATE_WITHIN_S = 1800.0
_WORKERS_WITHIN_S = 300.0
_BALANCER_PORT = 8080
Goal = dict[str, ReleaseMark]


class ComposeDeployment:
    """Deployments of one project; one at a time."""

    def __init__(self, project: ComposeProject, report: ReportProgress) -> None:
        self._project = project
        self._report = report
        self._release = ReleaseFile.read(project.folder)
        self._instances = ComposeInstances(project, self._release)

    async def deploy(self, order: ReleaseOrder) -> ReleaseOutcome:
        """Deploy an image. Raises OrderUndone when it was undone, OperatorError if that failed."""
        with self._locked():
            serving = read_colour(self._project.folder)
            crew = await self._instances.crew(standby=False)
            goals = self._goals(order, serving, crew)
            if order.plan:
                return ReleaseOutcome(order.image, self._preview(order, goals, crew))
            return await self._change(order, goals, _serving(crew))

    async def roll_back(self, order: ReleaseOrder) -> ReleaseOutcome:
        """Return to the instances that a blue-green deployment kept, else to the image before."""
        serving = read_colour(self._project.folder)
        other = _other(serving)
        crew = await self._instances.crew()
        kept = {one.name: one.mark for one in crew if colour_of_name(one.name) == other}
        if kept and all(one.ready for one in crew if one.name in kept):
            image = next(iter(kept.values())).release
            flip = order.back_to(image, blue_green=True, flip=True)
            if order.plan:
                return ReleaseOutcome(image, [str(step) for step in self._plan(flip, crew, kept)])
            with self._locked():
                return await self._change(flip, [kept], _serving(crew))
        if self._release.previous is None:
            raise OperatorError(
                "There is no release before this one; deploy one by its image: florin deploy"
                " --target compose --release IMAGE."
            )
        return await self.deploy(order.back_to(self._release.previous))

    async def _change(self, order: ReleaseOrder, goals: list[Goal], undo: Goal) -> ReleaseOutcome:
        before, outcome = self._release.image, ReleaseOutcome(order.image)
        try:
            async with AsyncExitStack() as stack:
                gate = await self._guard(order, stack)
                if not order.flip:
                    await self._remove_standby()
                    await self._migrate(order.image)
                for goal in goals:
                    await self._reach(order, goal, outcome, gate)
                if order.verify and gate is not None:
                    outcome.verification = await gate.compare(COMPARED_REQUESTS)
            await self._move_workers(order.image)
        except (OperatorError, PartEnded) as error:
            self._report(f"{error}; undoing the change.")
            await self._undo(order, undo, before, error)
        if before != order.image:
            self._release.values[PREVIOUS] = before
        self._release.write()
        return outcome

    async def _guard(self, order: ReleaseOrder, stack: AsyncExitStack) -> GateProcess | None:
        """Start the gate where instances are checked, and its load where that is verified."""
        if order.flip or not (order.blue_green or order.verify):
            return None
        words = self._project.command("run", "--rm", "--no-TTY", "--no-deps", "tool", "gate")
        log = self._project.folder / "live" / "gate.log"
        gate = GateProcess(("docker", *words), self._project.variables(), log)
        await stack.enter_async_context(gate)
        if order.verify:
            await gate.begin_load(f"balancer:{_BALANCER_PORT}", tls=order.tls)
        return gate

    async def _reach(
        self,
        order: ReleaseOrder,
        goal: Goal,
        outcome: ReleaseOutcome,
        gate: GateProcess | None = None,
    ) -> None:
        steps = self._plan(order, await self._instances.crew(), goal)
        for index, step in enumerate(steps, start=1):
            self._report(f"[{index}/{len(steps)}] {step}")
            began = time.monotonic()
            await self._instances.take(step, order.soak_s, gate)
            if step.verb == "switch":
                outcome.flip_s = time.monotonic() - began
            outcome.steps.append(str(step))

    def _preview(self, order: ReleaseOrder, goals: list[Goal], crew: Crew) -> list[str]:
        """Return the steps; changes nothing."""
        steps: list[str] = []
        for goal in goals:
            for step in self._plan(order, crew, goal):
                steps.append(str(step))
                crew = rollout.apply_step(crew, step)
        return steps

    def _plan(self, order: ReleaseOrder, crew: Crew, goal: Goal) -> tuple[RolloutStep, ...]:
        if order.blue_green:
            return blue_green.plan_switch(crew, goal, check=not order.flip, keep=order.keep)
        colours = {colour_of_name(name) for name in goal}
        mine = tuple(one for one in crew if colour_of_name(one.name) in colours)
        return rollout.plan_instances(mine, goal, batch=order.batch, surge=True)

    def _goals(self, order: ReleaseOrder, serving: Colour, crew: Crew) -> list[Goal]:
        """Return the goals one after the other: one for blue-green, one per batch for rolling."""
        mark = ReleaseMark(order.image, self._release.generation + 1)
        count = len(crew) or self._release.instances(serving)
        if order.blue_green:
            return [_fresh_names(_other(serving), (), count, mark)]
        new = list(_fresh_names(serving, crew, count, mark).items())
        old = [(one.name, one.mark) for one in crew if one.ready]  # others go in the first batch
        old = old[:count]
        batches = range(order.batch, count + order.batch, order.batch)
        return [dict([*old[done:], *new[:done]]) for done in batches]

    async def _remove_standby(self) -> None:
        """Remove the instances that the deployment before has kept."""
        other = _other(read_colour(self._project.folder))
        crew = await self._instances.crew()
        extra = [one.name for one in crew if colour_of_name(one.name) == other]
        if extra:
            step = RolloutStep("stop", tuple(extra))
            self._report(str(step))
            await self._instances.take(step, 0)

    async def _migrate(self, image: str) -> None:
        self._release.values[GENERATION] = str(self._release.generation + 1)
        self._release.write()
        words = ("run", "--rm", "--no-TTY", "--no-deps", "migrate")
        await self._project.run(*words, environ={IMAGE: image}, within_s=_MIGRATE_WITHIN_S)

    async def _move_workers(self, image: str) -> None:
        """Replace workers and the operator's process; a worker that stops finishes its jobs."""
        if self._release.image == image and not await self._outdated(image):
            return
        self._pin_colours()
        self._release.values[IMAGE] = image
        self._release.write()
        self._report(f"replace worker, operator of {image}")
        words = ("up", "--detach", "--no-deps", "--no-build", "worker", "operator")
        await self._project.run(*words, within_s=_WORKERS_WITHIN_S)

    async def _outdated(self, image: str) -> bool:
        text = await self._project.run("ps", "--format", "{{.Image}}", "worker", "operator")
        return set(text.split()) != {image}

    def _pin_colours(self) -> None:
        """Write the image of both colours down, so that a new default changes neither."""
        for colour in COLOURS:
            mark, count = self._release.mark(colour), self._release.instances(colour)
            self._release.put_colour(colour, mark, count)

    async def _undo(self, order: ReleaseOrder, undo: Goal, before: str, why: Exception) -> None:
        if not undo:
            raise OperatorError(f"{why}. No instance served before, so there is nothing to undo.")
        back = order.undoing()
        try:
            crew = await self._instances.crew()
            colour = colour_of_name(next(iter(undo)))
            mark = next(iter(undo.values()))
            there = {one.name for one in crew}
            goal = {name: each for name, each in undo.items() if name in there}
            goal |= _fresh_names(colour, crew, len(undo) - len(goal), mark)
            await self._reach(back, goal, ReleaseOutcome(before))
            self._release.put_colour(colour, mark, len(goal))
            await self._move_workers(before)
            self._release.write()
        except (OperatorError, PartEnded) as error:
            raise OperatorError(
                f"Undoing the change failed as well: {error}. Check docker compose ps, then run"
                " florin rollback --target compose."
            ) from None
        raise OrderUndone(
            f"The change was undone; the containers serve as before. Reason: {why}.",
            {"outcome": "undone", "release": order.image, "why": str(why)},
        )

    @contextmanager
    def _locked(self) -> Generator[None]:
        path = self._project.folder / "live" / "deploy.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OperatorError("Another deployment of this project runs.") from None
            yield


def _serving(crew: Crew) -> Goal:
    return {one.name: one.mark for one in crew if one.serves}


def _fresh_names(colour: Colour, crew: Crew, count: int, mark: ReleaseMark) -> Goal:
    """Return names that no container of the colour has: Compose counts on from the highest."""
    mine = [one.name for one in crew if colour_of_name(one.name) == colour]
    first = max((int(name.rpartition("-")[2]) for name in mine), default=0) + 1
    return {f"{compose_name(colour)}-{number}": mark for number in range(first, first + count)}


def _other(colour: Colour) -> Colour:
    return "green" if colour == "blue" else "blue"


def run_deployment(
    project: ComposeProject, order: ReleaseOrder, report: ReportProgress, *, back: bool
) -> ReleaseOutcome:
    """Deploy, or roll back, and wait for the end."""
    deployment = ComposeDeployment(project, report)
    return asyncio.run(deployment.roll_back(order) if back else deployment.deploy(order))
