"""Deployments to a Swarm: their order, what is undone, and the way back."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from florin.ops.containers.release_order import ReleaseOrder
from florin.ops.containers.swarm_deployment import run_deployment
from florin.ops.fleet.orders import OrderUndone
from florin.ops.system.console import OperatorError
from tests.ops.containers import swarm_engine
from tests.ops.containers.swarm_engine import FILE, first_state


@pytest.fixture
def swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a Swarm's state, whose program `docker` is the first one found."""
    program = tmp_path / "docker"
    call = f'exec "{sys.executable}" "{swarm_engine.__file__}" "{tmp_path}" "$@"'
    program.write_text(f"#!/bin/sh\n{call}\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("FLORIN_STACK", raising=False)
    put(tmp_path, first_state("florin:1"))
    return tmp_path


def put(swarm: Path, state: Any) -> None:
    (swarm / FILE).write_text(json.dumps(state), "utf-8")


def state(swarm: Path) -> Any:
    return json.loads((swarm / FILE).read_text("utf-8"))


def images(swarm: Path) -> list[str]:
    return [state(swarm)["services"][name]["image"] for name in ("api", "worker", "operator")]


def changed(swarm: Path) -> list[str]:
    """The services whose image was changed, in order."""
    return [name for name, *words in state(swarm)["log"] if "--image" in words]


def deploy(image: str, *, back: bool = False, **options: Any) -> Any:
    return run_deployment(ReleaseOrder(image=image, **options), lambda _: None, back=back)


def test_the_migration_comes_first_and_the_image_before_is_kept(swarm: Path) -> None:
    outcome = deploy("florin:2")
    assert changed(swarm) == ["migrate", "api", "worker", "operator"]
    assert images(swarm) == ["florin:2"] * 3
    assert outcome.steps == ["migrate", "roll api", "roll worker", "roll operator"]
    assert state(swarm)["services"]["api"]["labels"] == {"florin.previous": "florin:1"}


def test_nothing_is_changed_when_the_migration_fails(swarm: Path) -> None:
    with pytest.raises(OperatorError, match=r"The migration failed: task: non-zero exit"):
        deploy("bad:migrate")
    assert changed(swarm) == ["migrate"]
    assert images(swarm) == ["florin:1"] * 3


def test_earlier_failures_of_the_migration_do_not_count(swarm: Path) -> None:
    before = state(swarm)
    before["services"]["migrate"]["errors"] = {f"old{n}": "no database yet" for n in range(9)}
    before["services"]["migrate"]["failed"] = "florin:1"
    before["slow"] = True
    put(swarm, before)
    deploy("florin:2")
    assert images(swarm) == ["florin:2"] * 3


def test_a_failure_of_one_service_takes_the_others_back(swarm: Path) -> None:
    with pytest.raises(OrderUndone, match=r"worker: .*\(the last words\)"):
        deploy("bad:worker")
    assert changed(swarm) == ["migrate", "api", "worker", "api"]
    assert images(swarm) == ["florin:1"] * 3
    assert state(swarm)["services"]["api"]["labels"] == {}


def test_a_rollback_returns_to_the_image_before_and_forth(swarm: Path) -> None:
    with pytest.raises(OperatorError, match="There is no release before this one"):
        deploy("", back=True)
    deploy("florin:2")
    assert deploy("", back=True).release == "florin:1"
    assert images(swarm) == ["florin:1"] * 3
    assert changed(swarm).count("migrate") == 1, "the schema stays"
    assert deploy("", back=True).release == "florin:2"


def test_a_service_that_is_being_changed_is_left_alone(swarm: Path) -> None:
    before = state(swarm)
    before["services"]["worker"] |= {"changes": 1, "state": "updating"}
    put(swarm, before)
    with pytest.raises(OperatorError, match="florin_worker is being changed"):
        deploy("florin:2")
    assert changed(swarm) == []


def test_a_plan_changes_nothing(swarm: Path) -> None:
    assert deploy("florin:2", plan=True).steps[0] == "migrate"
    assert changed(swarm) == []


@pytest.mark.parametrize(("soak_s", "watched"), [(1.0, "7.5s"), (30.0, "30s")])
def test_a_new_task_is_watched_at_least_as_long_as_the_model_says(
    swarm: Path, soak_s: float, watched: str
) -> None:
    deploy("florin:2", soak_s=soak_s, batch=2)
    [words] = [
        words for name, *words in state(swarm)["log"] if name == "api" and "--image" in words
    ]
    assert words[words.index("--update-monitor") + 1] == watched
    assert words[words.index("--update-parallelism") + 1] == "2"


@pytest.mark.parametrize("option", ["blue_green", "verify"])
def test_what_swarm_cannot_do_is_refused(swarm: Path, option: str) -> None:
    with pytest.raises(OperatorError, match="leave out --blue-green and --verify"):
        deploy("florin:2", **{option: True})
    assert changed(swarm) == []
