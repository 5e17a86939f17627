"""Publisher: the supervisor's part in the operator page: its facts, and the release it runs."""

import asyncio
import time
from collections.abc import Callable

from florin.ops.fleet import desired_state, operation_lock
from florin.ops.haproxy import frontend
from florin.ops.operator_page.facts import FactsFile, collect_facts
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.rollout.executor import FleetContext
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.supervisor.start_stop import PartEnded
from florin.ops.system.console import OperatorError, say

_EVERY_S = 0.5
_RELEASE_EVERY = 10  # checks
_RETRY_S = 30.0


async def publish_facts(running: FleetContext, wanted_workers: Callable[[], int]) -> None:
    """Publish the facts until cancelled. A full disk is reported once, and tried again."""
    file, trouble, turn = FactsFile(running.topology.operator_folder), "", 0
    while True:
        facts = await asyncio.to_thread(
            collect_facts, running.home, running.fleet.fleet, wanted_workers=wanted_workers()
        )
        try:
            await asyncio.to_thread(file.publish, facts)
            trouble = ""
        except OperatorError as error:
            if str(error) != trouble:
                trouble = str(error)
                say(f"The operator page is not up to date: {error}")
        turn += 1
        if turn % _RELEASE_EVERY == 0:
            await _follow_release(running, frontend.OPERATOR, running.topology.operator)
            await _follow_release(running, frontend.MAILBOX, running.topology.mailbox)
        await asyncio.sleep(_EVERY_S)


async def _follow_release(
    running: FleetContext, name: str, make: Callable[[ReleaseMark], PartSpec | None]
) -> None:
    """Replace the operator process, or the mailbox, after a deployment: a page of the old release
    may mislead, and old releases are removed.
    """
    kept = desired_state.load_desired_state(running.home)
    part = running.fleet.fleet.part(name)
    if part is None or not kept.release:
        return
    # A failed start is tried again: nothing else watches a part that never served.
    lost = part.process is None and time.time() - part.since > _RETRY_S
    if part.release == kept.release and not lost:
        return
    if operation_lock.load_operation(running.home) is not None:
        return
    try:
        if (want := make(kept.mark)) is not None:
            await running.fleet.start(want)
    except (PartEnded, OperatorError) as error:
        say(f"The {name} process of {kept.release} did not start: {error}")
