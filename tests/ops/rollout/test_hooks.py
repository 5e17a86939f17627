"""Hooks: executables around the phases of a deployment; a failure stops it."""

import os
from pathlib import Path

import pytest

from florin.ops.fleet.home import Home
from florin.ops.fleet.operation_lock import Operation
from florin.ops.rollout import hooks
from florin.ops.rollout.guards import DeployGuards
from florin.ops.rollout.hooks import DeployHooks
from florin.ops.system import processes
from florin.ops.system.console import OperatorError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "hooks").mkdir(mode=0o700)
    return Home(tmp_path)


def hook(home: Home, name: str, text: str, mode: int = 0o700) -> None:
    path = home.path / "hooks" / name
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(mode)


def hooks_of(home: Home, said: list[str]) -> DeployHooks:
    change = Operation(who="ada", what="florin deploy", release="r2", blue_green=True)
    return DeployHooks(home, change, "http://127.0.0.1:8000", said.append)


async def test_it_gets_the_deployment_and_none_of_the_secrets(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "secret")
    hook(home, "before-switch", "env | sort")
    said: list[str] = []
    await hooks_of(home, said).run("before", "switch", ("api-1", "api-2"))
    assert said[0] == "hook before-switch"
    for line in (
        "FLORIN_DEPLOY_PARTS=api-1 api-2",
        "FLORIN_DEPLOY_RELEASE=r2",
        "FLORIN_DEPLOY_STRATEGY=blue-green",
        "FLORIN_DEPLOY_WHO=ada",
        "FLORIN_URL=http://127.0.0.1:8000",
    ):
        assert f"  {line}" in said
    assert not any("secret" in line for line in said)


async def test_its_failure_is_an_error_with_its_last_line(home: Home) -> None:
    hook(home, "after-migrate", "echo the backup is older than an hour; exit 3")
    with pytest.raises(
        OperatorError,
        match=r"after-migrate failed \(exit code 3\): the backup is older than an hour",
    ):
        await hooks_of(home, []).run("after", "migrate", ())


async def test_one_that_hangs_is_ended_with_its_children(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "HOOK_WITHIN_S", 0.5)
    hook(home, "before-start", f"sleep 600 & echo $! >{home.path}/pid; wait")
    with pytest.raises(OperatorError, match="before-start did not end within"):
        await hooks_of(home, []).run("before", "start", ())
    pid = int((home.path / "pid").read_text("ascii"))
    assert processes.find_process(pid) is None


async def test_a_file_that_is_not_executable_is_refused(home: Home) -> None:
    hook(home, "before-start", "true", mode=0o600)
    with pytest.raises(OperatorError, match=r"is not executable; run chmod \+x"):
        await hooks_of(home, []).run("before", "start", ())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may not trust other users")
async def test_root_runs_no_hook_that_another_user_can_change(home: Home) -> None:
    hook(home, "before-start", "true", mode=0o777)
    with pytest.raises(OperatorError, match="can be changed by other users"):
        await hooks_of(home, []).run("before", "start", ())


async def test_a_step_whose_hook_fails_is_not_taken(home: Home) -> None:
    hook(home, "before-switch", "exit 1")
    taken: list[str] = []

    async def take() -> None:
        taken.append("switch")

    guards = DeployGuards(hooks=hooks_of(home, []))
    with pytest.raises(OperatorError, match="before-switch failed"):
        await guards.around("switch", ("api-1",), take())
    assert taken == []
    await guards.around("watch", ("api-1",), take())
    assert taken == ["switch"]
