"""Settlement: what a change that succeeded leaves as the desired state."""

import time
from dataclasses import replace

from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState, StandbySet
from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.releases import store


def settle_change(home: Home, change: Operation) -> DesiredState:
    """Save and return the result of the change as the desired state."""
    kept = desired_state.load_desired_state(home)
    serving = [name for name in change.goal if not desired_state.is_worker(name)]
    kept = replace(kept, api=len(serving))
    if change.workers:
        kept = replace(kept, workers=None if change.workers == "auto" else int(change.workers))
    if change.blue_green:
        colour = desired_state.colour_of(serving[0])
        kept = replace(kept, colour=colour, standby=_standby(kept, change))
    # What an operator drained stays drained, on the standby, too: also after a flip back.
    there = {*change.goal, *(kept.standby.marks if kept.standby is not None else ())}
    drained = {name: number for name, number in kept.drained.items() if name in there}
    kept = replace(kept, drained=drained)
    if change.release:
        if change.release != kept.release:
            kept = replace(kept, previous=kept.release, release=change.release)
        generation = max(kept.generation, *(mark.generation for mark in change.goal.values()))
        kept = replace(kept, generation=generation, previous=kept.previous or change.release)
        standby = kept.standby.release if kept.standby is not None else kept.previous
        store.prune_releases(home, {kept.release, kept.previous, standby})
    desired_state.save_desired_state(home, kept)
    return kept


def _standby(kept: DesiredState, change: Operation) -> StandbySet | None:
    before = {n: mark for n, mark in change.undo.items() if not desired_state.is_worker(n)}
    if not before or change.keep_s <= 0:
        return None
    return StandbySet(release=kept.release, marks=before, until=time.time() + change.keep_s)
