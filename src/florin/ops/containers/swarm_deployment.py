"""Swarm deployment: replace the release of a stack, which Swarm rolls out and rolls back itself.

`deploy/stack.yaml` has how: a new task starts and is watched before an old one ends, and a task
that fails brings all of its service back. Here are the order of the services, the migration before
them, and the way back for the services that were changed before one failed. The image before is a
label of the first service, since Swarm itself forgets it with the next change, of its scale too.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.containers.engine import DockerCommand
from florin.ops.containers.release_order import ReleaseOrder, ReleaseOutcome
from florin.ops.fleet.orders import OrderUndone, ReportProgress
from florin.ops.fleet.timing import DEFAULT
from florin.ops.system.console import OperatorError

_STACK, _SERVICES = "FLORIN_STACK", ("api", "worker", "operator")
_PREVIOUS = "florin.previous"
_CHANGING = ("updating", "rollback_started")
_ROLLS_WITHIN_S = 1800.0
_MIGRATES_WITHIN_S = 1800.0
_POLL_S = 0.5
_RETRIES_MOST = 5  # of the migration, by the stack's restart policy


class SwarmDeployment:
    """Deployments of one stack, from a manager of the Swarm."""

    def __init__(self, stack: str, report: ReportProgress) -> None:
        self._stack = stack
        self._report = report
        self._docker = DockerCommand(cwd=Path("/"))

    async def deploy(self, order: ReleaseOrder) -> ReleaseOutcome:
        """Migrate, then roll an image out. Raises OrderUndone when it was undone."""
        _refuse_unknown(order)
        before = await self._images()
        steps = ["migrate", *(f"roll {each}" for each in _SERVICES)]
        if not order.plan:
            self._report(f"[1/{len(steps)}] migrate")
            await self._migrate(order.image)
            await self._change(order, before, steps)
        return ReleaseOutcome(order.image, steps)

    async def roll_back(self, order: ReleaseOrder) -> ReleaseOutcome:
        """Return to the image before. The schema stays: it fits the release before, too."""
        before = await self._images()
        previous = (await self._inspect("api"))["Spec"]["Labels"].get(_PREVIOUS)
        if not previous:
            raise OperatorError(
                "There is no release before this one; deploy one by its image: florin deploy"
                " --target swarm --release IMAGE."
            )
        steps = [f"roll {each}" for each in _SERVICES]
        if not order.plan:
            await self._change(order.back_to(previous), before, steps)
        return ReleaseOutcome(previous, steps)

    async def _change(
        self, order: ReleaseOrder, before: dict[str, str], steps: Sequence[str]
    ) -> None:
        begun: list[str] = []
        try:
            for each in _SERVICES:
                place = len(steps) - len(_SERVICES) + len(begun) + 1
                self._report(f"[{place}/{len(steps)}] roll {each}")
                begun.append(each)
                await self._roll(each, order.image, order)
        except OperatorError as error:
            self._report(f"{error}; undoing the change.")
            await self._undo(order, before, begun, error)
        if before["api"] != order.image:
            words = ("service", "update", "--detach", "--label-add")
            label = f"{_PREVIOUS}={before['api']}"
            await self._docker.run([*words, label, self._name("api")])

    async def _undo(
        self, order: ReleaseOrder, before: dict[str, str], begun: list[str], why: OperatorError
    ) -> None:
        """Return the services that were changed to their images; Swarm has done so for the last."""
        try:
            for each in reversed(begun):
                if (await self._images())[each] != before[each]:
                    self._report(f"roll {each} back")
                    await self._roll(each, before[each], order)
        except OperatorError as error:
            raise OperatorError(
                f"Undoing the change failed as well: {error}. Check docker stack ps {self._stack},"
                f" then deploy the image before: {before['api']}."
            ) from None
        raise OrderUndone(
            f"The change was undone; the tasks serve as before. Reason: {why}.",
            {"outcome": "undone", "release": order.image, "why": str(why)},
        )

    async def _images(self) -> dict[str, str]:
        """Return the image of each service. Raises OperatorError while one is being changed."""
        images: dict[str, str] = {}
        for each in _SERVICES:
            details = await self._inspect(each)
            if _update_status(details).get("State") in _CHANGING:
                raise OperatorError(
                    f"{self._name(each)} is being changed; wait until docker service inspect"
                    " shows that its update is complete."
                )
            images[each] = details["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
        return images

    async def _migrate(self, image: str) -> None:
        """Run the migration once with the new image, and wait for its end."""
        earlier = set(await self._failures())
        before = _iteration(await self._inspect("migrate"))
        words = ("service", "update", "--detach", "--force", "--image", image)
        await self._docker.run([*words, self._name("migrate")])
        failed: dict[str, str] = {}  # by task; Swarm lists the last ones only
        deadline = time.monotonic() + _MIGRATES_WITHIN_S
        while True:
            words = ("service", "ls", "--format", "{{.Name}}\t{{.Replicas}}")
            shown = dict(
                line.split("\t", 1) for line in (await self._docker.run(words)).splitlines()
            )
            done = "(1/1 completed)" in shown.get(self._name("migrate"), "")
            if done and _iteration(await self._inspect("migrate")) > before:
                return
            now = await self._failures()
            failed |= {task: why for task, why in now.items() if task not in earlier}
            if len(failed) > _RETRIES_MOST or time.monotonic() > deadline:
                why = [*failed.values(), "it did not end in time"][0]
                raise OperatorError(
                    f"The migration failed: {why}. Nothing else was changed; docker service logs"
                    f" {self._name('migrate')} says more."
                )
            await asyncio.sleep(_POLL_S)

    async def _failures(self) -> dict[str, str]:
        """Return the error of each task of the migration that failed."""
        words = ("service", "ps", "--no-trunc", "--format", "{{.ID}}\t{{.Error}}")
        text = await self._docker.run([*words, self._name("migrate")])
        rows = (line.partition("\t") for line in text.splitlines())
        return {task: error for task, _, error in rows if error}

    async def _roll(self, name: str, image: str, order: ReleaseOrder) -> None:
        """Change the image of a service, and wait. Raises OperatorError when Swarm went back."""
        before = _update_status(await self._inspect(name))
        watch_s = max(order.soak_s, DEFAULT.update_watch_s)
        words = ["service", "update", "--detach", "--force", "--image", image]
        words += ["--update-parallelism", str(order.batch), "--update-monitor", f"{watch_s:g}s"]
        await self._docker.run([*words, self._name(name)])
        deadline = time.monotonic() + _ROLLS_WITHIN_S
        while time.monotonic() < deadline:
            status = _update_status(await self._inspect(name))
            if status.get("StartedAt") != before.get("StartedAt"):
                state = status.get("State", "")
                if state == "completed":
                    return
                if state.endswith(("paused", "completed")):
                    raise OperatorError(f"{name}: {await self._reason(name, image, status)}")
            await asyncio.sleep(_POLL_S)
        raise OperatorError(f"{name} was not replaced within {_ROLLS_WITHIN_S:.0f} s")

    async def _reason(self, name: str, image: str, status: dict[str, str]) -> str:
        """Return why Swarm went back, with the last words of the task that failed."""
        words = ("service", "ps", "--no-trunc", "--format", "{{.ID}}\t{{.Image}}\t{{.Error}}")
        text = await self._docker.run([*words, self._name(name)])
        rows = (line.split("\t") for line in text.splitlines())
        failed = [row for row in rows if len(row) == 3 and row[1] == image and row[2]]  # noqa: PLR2004
        if not failed:
            return status.get("Message", "Swarm went back")
        words = ("service", "logs", "--raw", "--tail", "1", failed[0][0])
        said = (await self._docker.run(words, both=True)).strip().splitlines()
        return f"{failed[0][2]}{f' ({said[-1].strip()})' if said else ''}"

    async def _inspect(self, name: str) -> Any:
        text = await self._docker.run(["service", "inspect", self._name(name)])
        return msgspec.json.decode(text)[0]

    def _name(self, name: str) -> str:
        return f"{self._stack}_{name}"


def _update_status(details: Any) -> dict[str, str]:
    """Return the state of a service's last change; a service that never changed has none."""
    return details.get("UpdateStatus") or dict[str, str]()


def _iteration(details: Any) -> int:
    """Return how often a job was started."""
    return int(details["JobStatus"]["JobIteration"].get("Index", 0))


def _refuse_unknown(order: ReleaseOrder) -> None:
    if order.blue_green or order.verify:
        raise OperatorError(
            "Swarm replaces tasks one by one and watches each: leave out --blue-green and --verify."
        )


def run_deployment(order: ReleaseOrder, report: ReportProgress, *, back: bool) -> ReleaseOutcome:
    """Deploy to the stack FLORIN_STACK (florin), or roll it back, and wait for the end."""
    deployment = SwarmDeployment(os.environ.get(_STACK) or "florin", report)
    return asyncio.run(deployment.roll_back(order) if back else deployment.deploy(order))
