"""Cluster deployment: replace the release in a Kubernetes cluster, and return to the one before.

Rolling: the Deployment of the set that serves replaces its pods. Blue-green: the planner of the
fleet, with each set as one process; the switch is the selector of the public Service. A step that
fails undoes the deployment. Nothing is remembered outside the cluster: an interrupted deployment is
observed and planned again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from florin.ops.fleet.cluster_timing import CLUSTER
from florin.ops.fleet.orders import ReportProgress
from florin.ops.kubernetes import colour_set
from florin.ops.kubernetes.cluster_state import SERVICE, ClusterState, read_cluster, set_name
from florin.ops.kubernetes.colour_set import API, BALANCER, LABEL, Colour, other_colour
from florin.ops.kubernetes.kubectl import AlreadyThere, KubectlCommand, Manifest
from florin.ops.kubernetes.migration_job import run_migration
from florin.ops.kubernetes.pod_watch import check_pods, watch_pods
from florin.ops.planning import blue_green
from florin.ops.planning.rollout import ReleaseMark, RolloutStep
from florin.ops.system.console import OperatorError

LOCK = "florin-deploy"
PREVIOUS = "florin/previous-image"
OTHERS = ("florin-worker", "florin-operator")
_SPARE_S, _POLL_S = 30.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOrder:
    """What is asked: `image` None means the one before. `keep`: the replaced set stays."""

    image: str | None
    blue_green: bool = False
    keep: bool = True
    soak_s: float = 5.0
    who: str = ""


@dataclass(slots=True)
class ClusterDeployment:
    """One deployment at a time in a namespace; another one is refused."""

    kubectl: KubectlCommand
    report: ReportProgress
    poll_s: float = _POLL_S
    within_s: float = CLUSTER.progress_s + CLUSTER.grace_s + _SPARE_S
    done: list[str] = field(default_factory=list[str])

    async def plan(self, order: ClusterOrder) -> list[str]:
        """Return the steps that `deploy` would take, or those of `rollback` without an image."""
        state = await self.observe()
        after = [f"replace {name}" for name in OTHERS]
        if order.image is None and _kept(state) is not None:
            return [f"switch to {set_name(other_colour(state.serving))}", *after]
        steps, _, mark = self._plan(state, order, order.image or _image_before(state))
        first = [] if order.image is None else [f"migrate to {mark.release}"]
        return [*first, *map(str, steps), *after]

    async def deploy(self, order: ClusterOrder) -> str:
        """Deploy an image; return what was done. Raises OperatorError, undone unless it says so."""
        async with self._alone(order):
            state = await self.observe()
            image = order.image
            if image is None:
                raise OperatorError("Give the image: --release REGISTRY/florin@sha256:…")
            self.report(f"migrate to {image}")
            await run_migration(self.kubectl, image, poll_s=self.poll_s)
            return await self._change(state, order, image)

    async def rollback(self, order: ClusterOrder) -> str:
        """Return to the set that was kept, in one step, else to the image before."""
        async with self._alone(order):
            state = await self.observe()
            kept = _kept(state)
            if kept is None:
                return await self._change(state, order, _image_before(state))
            await self._switch(other_colour(state.serving))
            image = colour_set.image_of(kept)
            await self._others(image, state.generation + 1)
            await self._remember(state.image)
            return f"Requests go to {set_name(other_colour(state.serving))} ({image}) again."

    async def observe(self) -> ClusterState:
        """Read the cluster. Raises OperatorError if Florin is not installed there."""
        return await read_cluster(self.kubectl)

    async def _change(self, state: ClusterState, order: ClusterOrder, image: str) -> str:
        steps, goal, mark = self._plan(state, order, image)
        changed: list[str] = []
        try:
            for step in steps:
                self.report(str(step))
                await self._take(step, goal, mark, order)
            changed = list(OTHERS)
            await self._others(image, mark.generation)
        except BaseException as error:
            self.report(f"{error}; undoing the deployment.")
            await self._undo(state, goal, image, changed)
            if isinstance(error, OperatorError):
                raise OperatorError(f"{error}. The deployment was undone.") from None
            raise
        await self._remember(state.image)
        if goal != state.serving and not order.keep:
            await self._remove(state.serving)
        return f"{image} serves in {set_name(goal)}; {state.image} did before."

    def _plan(
        self, state: ClusterState, order: ClusterOrder, image: str
    ) -> tuple[tuple[RolloutStep, ...], Colour, ReleaseMark]:
        mark = ReleaseMark(image, state.generation + 1)
        goal = other_colour(state.serving) if order.blue_green else state.serving
        name = set_name(goal)
        if order.blue_green:
            steps = blue_green.plan_switch(state.crew(), {name: mark}, check=True, keep=True)
        else:  # Kubernetes plans the pods itself: one more, then one fewer
            steps = (
                RolloutStep("start", (name,), mark),
                RolloutStep("check", (name,)),
                RolloutStep("watch", (name,)),
            )
        return steps, goal, mark

    async def _take(
        self, step: RolloutStep, goal: Colour, mark: ReleaseMark, order: ClusterOrder
    ) -> None:
        if step.verb == "start":
            await self._start(goal, mark)
        elif step.verb == "stop":
            await self._remove(goal)
        elif step.verb == "check":
            await check_pods(self.kubectl, await self._pods(goal))
        elif step.verb == "switch":
            await self._switch(goal)
        elif step.verb == "watch":
            before = await self._pods(other_colour(goal))
            await watch_pods(self.kubectl, await self._pods(goal), before, order.soak_s)

    async def _start(self, goal: Colour, mark: ReleaseMark) -> None:
        state = await self.observe()
        if goal == state.serving:
            patch = colour_set.image_patch(mark.release, mark.generation)
            await self.kubectl.patch("deployment", f"{API}-{goal}", patch)
        else:
            live = await self.kubectl.find(colour_set.KINDS, f"{LABEL}={state.serving}")
            made = colour_set.recoloured_set(live, goal, mark.release, mark.generation)
            await self.kubectl.create(made)
            await self._until_available(f"{BALANCER}-{goal}")
        await self._until_available(f"{API}-{goal}")

    async def _switch(self, colour: Colour) -> None:
        await self.kubectl.patch("service", SERVICE, {"spec": {"selector": {LABEL: colour}}})
        seen = await self.observe()
        if seen.serving != colour:
            raise OperatorError(f"The Service {SERVICE} still selects {seen.serving}")

    async def _others(self, image: str, generation: int) -> None:
        """Replace workers and the operator process, which get no requests."""
        for name in OTHERS:
            self.report(f"replace {name}")
            await self.kubectl.patch("deployment", name, colour_set.image_patch(image, generation))
        for name in OTHERS:
            await self._until_available(name)

    async def _undo(
        self, state: ClusterState, goal: Colour, image: str, changed: Sequence[str]
    ) -> None:
        """Return to what served before; nothing new stays."""
        now = await self.observe()
        if now.serving != state.serving:
            await self._switch(state.serving)
        generation = now.generation + 1
        if goal == state.serving:
            if colour_set.image_of(now.sets[goal]) == image:
                patch = colour_set.image_patch(state.image, generation)
                await self.kubectl.patch("deployment", f"{API}-{goal}", patch)
                await self._until_available(f"{API}-{goal}")
        else:
            await self._remove(goal)
        for name in changed:
            patch = colour_set.image_patch(state.image, generation)
            await self.kubectl.patch("deployment", name, patch)

    async def _remove(self, colour: Colour) -> None:
        """Delete a set that gets no requests."""
        state = await self.observe()
        if state.serving == colour:
            raise OperatorError(f"{set_name(colour)} serves and is not removed")
        for each in await self.kubectl.find(colour_set.KINDS, f"{LABEL}={colour}"):
            await self.kubectl.delete(each["kind"].lower(), each["metadata"]["name"])

    async def _remember(self, image: str) -> None:
        change = {"metadata": {"annotations": {PREVIOUS: image}}}
        await self.kubectl.patch("service", SERVICE, change)

    async def _pods(self, colour: Colour) -> list[Manifest]:
        found = await self.kubectl.find("pods", f"app.kubernetes.io/name={API},{LABEL}={colour}")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    async def _until_available(self, name: str) -> None:
        deadline = time.monotonic() + self.within_s
        while time.monotonic() < deadline:
            now = await self.kubectl.get("deployment", name)
            if now is None:
                raise OperatorError(f"The Deployment {name} is gone")
            ready, hopeless = colour_set.rollout_state(now)
            if ready:
                return
            if hopeless:
                raise OperatorError(f"{name} did not become available: {hopeless}")
            await asyncio.sleep(self.poll_s)
        raise OperatorError(f"{name} did not become available within {self.within_s:.0f} s")

    @asynccontextmanager
    async def _alone(self, order: ClusterOrder) -> AsyncGenerator[None]:
        lock: Manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": LOCK, "labels": {"app.kubernetes.io/part-of": "florin"}},
            "data": {"who": order.who, "image": order.image or "the one before"},
        }
        try:
            await self.kubectl.create([lock])
        except AlreadyThere:
            held = await self.kubectl.get("configmap", LOCK) or lock
            raise OperatorError(
                f"{held['data']['who']} deploys {held['data']['image']} there. If that was"
                f" interrupted, run kubectl delete configmap {LOCK} and deploy again."
            ) from None
        try:
            yield
        finally:
            await self.kubectl.delete("configmap", LOCK)


def _kept(state: ClusterState) -> Manifest | None:
    """Return the set that was kept, if requests can be sent to it at once."""
    kept = state.sets.get(other_colour(state.serving))
    return kept if kept is not None and colour_set.rollout_state(kept)[0] else None


def _image_before(state: ClusterState) -> str:
    image = state.service["metadata"].get("annotations", {}).get(PREVIOUS)
    if not image:
        raise OperatorError("No release before is known; deploy one with --release IMAGE.")
    return str(image)
