"""Logs: the commands that read the fleet's logs and change how much is logged."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin.cli import main
from florin.ops.fleet import audit_log
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet, Part
from florin.ops.system import processes
from tests.ops.conftest import TestFleet, run_cli, until
from tests.support.instance import NO_TLS, Instance


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_the_logs_of_a_fleet_are_one_stream_of_json(fleet: TestFleet) -> None:
    child = fleet.up()
    said = run_cli(fleet, "logs")
    assert said.returncode == 0, said.stderr
    found = events(said.stdout)
    assert {"supervisor", "postgres-1", "valkey-1"} <= {each["instance"] for each in found}
    times = [each["at"] for each in found]
    assert all(time_.endswith(("Z", "+00:00")) for time_ in times)
    only = events(run_cli(fleet, "logs", "supervisor", "--since", "1h").stdout)
    assert only
    assert {each["instance"] for each in only} == {"supervisor"}
    assert "no log of api-9" in run_cli(fleet, "logs", "api-9").stderr
    follower = subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "logs", "supervisor", "--follow"],
        env=os.environ | {"FLORIN_HOME": str(fleet.home.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(2)  # it prints only what is written from its start on
        assert run_cli(fleet, "balance", "leastconn").returncode == 0
        assert run_cli(fleet, "restart", "api-1").returncode == 0
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["instance"] == "supervisor"
    finally:
        follower.kill()
        follower.communicate()
    fleet.end(child)


async def test_the_level_of_a_running_process_is_changed_and_recorded(
    api: Instance, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    home.make()
    assert api.process is not None
    found = processes.find_process(api.process.pid)
    assert found is not None
    part = Part(
        name="api-1",
        role="api",
        state="ready",
        release="r1",
        operations=api.operations.removeprefix("http://"),
        pid=found.pid,
        started=found.started,
    )
    home.write_fleet(Fleet(parts=(part,)))
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "florin", "log-level", "api-1", "debug", "--json"],
        env=os.environ | {"FLORIN_HOME": str(tmp_path), "FLORIN_OPERATOR": "alice"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        level = f"{api.operations}/log-level"
        assert (await http.get(level)).json() == {"level": "debug"}
        await http.put(level, json={"level": json.loads(said.stdout)["before"]})
    assert json.loads(said.stdout) == {"name": "api-1", "level": "debug", "before": "info"}
    [entry] = audit_log.read_operations(home)
    assert (entry.who, entry.what) == ("alice", "florin log-level api-1 debug")


def test_a_process_without_a_level_is_named(fleet: TestFleet, capsys: Any) -> None:
    assert main(["log-level", "balancer", "debug", "--home", str(fleet.home.path)]) == 1
    assert "No running process balancer has a log level" in capsys.readouterr().err
    child = fleet.up()
    said = run_cli(fleet, "log-level", "api-1", "debug")  # a stand-in, which cannot
    assert "deploy this one first" in said.stderr
    fleet.end(child)
    until(lambda: fleet.home.log("supervisor").exists(), "the supervisor's log")
