"""Full disk: a backup or a release that does not fit leaves no files, and the fleet serves."""

import shutil
from pathlib import Path

import pytest

from florin.ops.fleet.home import Home
from florin.ops.system import os_user
from tests.journeys.faults import disks
from tests.ops.conftest import TestFleet, document, run_cli

ROOT = Path(__file__).parents[3]


def state(fleet: TestFleet) -> str:
    return document(run_cli(fleet, "status", "--json"))["state"]


@pytest.mark.slow
def test_a_backup_that_fills_its_disk_leaves_no_files(fleet: TestFleet) -> None:
    fleet.up()
    running = fleet.processes()
    place = Path(fleet.home.layout().data_dir or "")
    account = os_user.choose_account([place / "postgres"])
    folder = os_user.make_private_dir(place / "backups", account)
    with disks.small(8, at=folder):
        result = run_cli(fleet, "backup")
        assert result.returncode == 1
        (line,) = result.stderr.strip().splitlines()[-1:]
        assert "No space left on device" in line
        assert list(folder.iterdir()) == []
        shown = document(run_cli(fleet, "status", "--json"))
        assert "No space left on device" in shown["backups"]["taken"]["failing"]
        assert shown["state"] == "ready"
    assert fleet.processes() == running
    result = run_cli(fleet, "backup", "--json")
    assert result.returncode == 0, result.stderr
    assert document(run_cli(fleet, "status", "--json"))["backups"]["taken"]["failing"] is None


def test_a_release_that_fills_its_disk_changes_nothing(fleet: TestFleet) -> None:
    fleet.up()
    running = fleet.processes()
    folder = Home(fleet.home.path).path / "releases"
    with disks.small(1, at=folder):
        result = run_cli(fleet, "deploy", "--release", str(ROOT))
        assert result.returncode == 1
        (line,) = result.stderr.strip().splitlines()[-1:]
        assert "No space left on device" in line
        assert list(folder.iterdir()) == [], "half a release keeps the disk full"
        assert shutil.disk_usage(folder).free > 0
        assert state(fleet) == "ready"
    assert fleet.processes() == running
