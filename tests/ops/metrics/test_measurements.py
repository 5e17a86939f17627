"""Measurements of the supervisor: parts from /proc, and how changes of the fleet ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from florin.ops.fleet import audit_log
from florin.ops.fleet.home import Home
from florin.ops.metrics import definitions
from florin.ops.metrics.part_usage import PartUsage, read_usage

_BURN = "import time\nt = time.process_time()\nwhile time.process_time() < t + 0.4: pass\n"
_PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {_BURN!r} + "held = bytearray(60_000_000)\\n"
    "print('ready', flush=True)\\ntime.sleep(60)"], stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
time.sleep(60)
"""


def used(pid: int, *, with_children: bool) -> PartUsage:
    usage = read_usage(pid, with_children=with_children)
    assert usage is not None
    return usage


def test_a_part_uses_what_its_processes_use_and_the_supervisor_only_its_own() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        alone = used(process.pid, with_children=False)
        whole = used(process.pid, with_children=True)
        assert whole.cpu_s - alone.cpu_s >= 0.3
        assert 55e6 < whole.memory - alone.memory < 120e6
        assert 3 <= alone.files < 50 <= alone.files_limit
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
    assert read_usage(process.pid, with_children=True) is None


def test_this_process_is_measured_alike() -> None:
    before = used(os.getpid(), with_children=False).cpu_s
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert 0.1 <= used(os.getpid(), with_children=False).cpu_s - before < 5


@pytest.mark.parametrize(
    ("what", "outcome", "command"),
    [
        ("florin deploy --soak 5s", "undone", "deploy"),
        ("florin scale api=3", "done", "scale"),
        ("a removed certificate", "failed", "other"),
    ],
)
def test_the_end_of_a_change_is_counted(
    what: str, outcome: str, command: str, tmp_path: Path
) -> None:
    def counted() -> float:
        series = definitions.operations.labels(command, outcome)
        return next(iter(series.collect())).samples[0].value

    before = counted()
    home = Home(tmp_path)
    audit_log.append_operation(home, "tests", what, "begun")
    assert counted() == before
    audit_log.append_operation(home, "tests", what, outcome)
    assert counted() == before + 1
