"""Settlement: the desired state after a change."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.rollout.settlement import settle_change

OLD, NEW = ReleaseMark("r1", 4), ReleaseMark("r2", 5)
BLUE = dict.fromkeys(desired_state.instance_names(2, "blue"), OLD)
GREEN = dict.fromkeys(desired_state.instance_names(2, "green"), NEW)
DEPLOY = Operation(
    who="ada",
    what="florin deploy --blue-green",
    goal=GREEN | {"worker-1": NEW},
    undo=BLUE | {"worker-1": OLD},
    release="r2",
    blue_green=True,
    keep_s=60,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    desired_state.save_desired_state(made, DesiredState(release="r1", generation=5, previous="r0"))
    return made


def test_a_switch_makes_the_other_colour_serve_and_keeps_the_old_one(home: Home) -> None:
    kept = settle_change(home, DEPLOY)
    assert (kept.colour, kept.release, kept.previous, kept.api) == ("green", "r2", "r1", 2)
    assert kept.standby is not None
    assert (kept.standby.colour, kept.standby.release, kept.standby.marks) == ("blue", "r1", BLUE)
    assert 58 < kept.standby.until - time.time() <= 60
    assert desired_state.load_desired_state(home) == kept


def test_a_flip_back_reuses_no_generation(home: Home) -> None:
    """A generation counts deployments: an instance that starts later must not look older."""
    settle_change(home, DEPLOY)
    later = replace(desired_state.load_desired_state(home), generation=6)
    desired_state.save_desired_state(home, later)
    back = replace(DEPLOY, goal=BLUE, undo=GREEN, release="r1", back=True, flip=True)
    kept = settle_change(home, back)
    assert (kept.colour, kept.release, kept.generation) == ("blue", "r1", 6)
    assert kept.standby is not None
    assert kept.standby.marks == GREEN


def test_an_instance_that_an_operator_drained_is_so_after_a_flip_back(home: Home) -> None:
    drained = replace(desired_state.load_desired_state(home), drained={"api-2": 4, "api-9": 1})
    desired_state.save_desired_state(home, drained)
    assert settle_change(home, DEPLOY).drained == {"api-2": 4}
    back = replace(DEPLOY, goal=BLUE, undo=GREEN, release="r1", back=True, flip=True)
    assert settle_change(home, back).drained == {"api-2": 4}


def test_nothing_is_kept_for_no_time(home: Home) -> None:
    assert settle_change(home, replace(DEPLOY, keep_s=0)).standby is None


def test_scaling_leaves_the_standby_alone(home: Home) -> None:
    standby = settle_change(home, DEPLOY).standby
    three = dict.fromkeys(desired_state.instance_names(3, "green"), NEW)
    kept = settle_change(home, Operation(who="ada", what="scale", goal=three, undo=GREEN))
    assert (kept.api, kept.standby) == (3, standby)


def test_the_name_shows_the_colour() -> None:
    for colour in ("blue", "green"):
        names = desired_state.instance_names(3, colour)
        assert {desired_state.colour_of(name) for name in names} == {colour}
    assert desired_state.instance_names(1, "blue") == ("api-1",)
    assert desired_state.instance_names(1, "green") == ("api-green-1",)
