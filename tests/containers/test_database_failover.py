"""Database failover on Compose: Patroni, whose primary is killed and switched under load."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from florin.gate.merchant import CheckMerchant
from tests.containers.conftest import FORM
from tests.containers.dumps import (
    back_up,
    create,
    keep_secrets,
    read_dump,
    spend,
    unpack_secrets,
)
from tests.containers.engine import Engine
from tests.containers.repeating_clients import repeating_clients
from tests.containers.topology import Topology, project_folder, running_topology, wait_until_served

pytestmark = pytest.mark.long_form(FORM)
MEMBERS = ("database", "database-replica", "database-third")


@pytest.fixture(scope="module")
def project(networked: Engine) -> Iterator[Topology]:
    with running_topology(networked, 8000, "compose.patroni.yaml") as running:
        print(f"\nwith Patroni from nothing to served in {running.healthy_s:.1f} s")
        yield running


@pytest.fixture(scope="module")
def merchant(project: Topology) -> CheckMerchant:
    return project.merchant()


def patronictl(project: Topology, *words: str, by: str = "database-third") -> str:
    command = ("patronictl", "-c", "/run/postgresql/patroni.yaml", *words)
    return project.compose("exec", "-T", by, *command)


def members(project: Topology, by: str) -> dict[str, Any]:
    found = msgspec.json.decode(patronictl(project, "list", "-f", "json", by=by))
    return {each["Member"]: each for each in found}


async def until_primary(project: Topology, by: str, lost: str | None = None) -> str:
    """Wait for a primary that is not `lost`; return it."""
    deadline = time.monotonic() + 90
    while True:
        found = await asyncio.to_thread(members, project, by)
        for name, each in found.items():
            if name != lost and each["Role"] == "Leader" and each["State"] == "running":
                return name
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.25)


async def until_whole(project: Topology, by: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        found = await asyncio.to_thread(members, project, by)
        states = sorted(each["State"] for each in found.values())
        roles = {each["Role"] for each in found.values()}
        if states == ["running", "streaming", "streaming"] and "Sync Standby" in roles:
            return
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.25)


async def test_a_killed_primary_is_replaced_and_no_answered_payment_is_lost(
    project: Topology, merchant: CheckMerchant
) -> None:
    await until_whole(project, MEMBERS[0])
    lost = await until_primary(project, MEMBERS[0])
    by = next(name for name in MEMBERS if name != lost)
    async with repeating_clients([project.address], merchant) as log:
        await log.more(100)
        began = time.monotonic()
        await asyncio.to_thread(project.compose, "kill", "--signal", "KILL", lost)
        new = await until_primary(project, by, lost)
        print(f"{new} leads {time.monotonic() - began:.1f} s after {lost} was killed")
        await log.more(100)
        await asyncio.to_thread(project.compose, "start", lost)
        await until_whole(project, by)
        await log.more(50)
    assert log.longest_s < 45


async def test_a_switch_on_purpose_fails_no_request(
    project: Topology, merchant: CheckMerchant
) -> None:
    by = MEMBERS[0]
    await until_whole(project, by)
    before = await asyncio.to_thread(members, project, by)
    target = next(name for name, each in before.items() if each["Role"] == "Sync Standby")
    async with repeating_clients([project.address], merchant) as log:
        await log.more(50)
        words = ("switchover", "--candidate", target, "--force")
        await asyncio.to_thread(patronictl, project, *words, by=by)
        assert await until_primary(project, by) == target
        await log.more(100)
    assert log.failed == 0, log.failures


async def test_a_card_is_spent_by_its_code_after_a_restore_on_an_empty_host(
    project: Topology, merchant: CheckMerchant, tmp_path: Path
) -> None:
    body = {"program": merchant.program, "amount": 2500}
    card = await asyncio.to_thread(create, project, merchant, "/cards", body)
    await until_whole(project, MEMBERS[0])
    leads = await until_primary(project, MEMBERS[0])
    other = next(name for name in MEMBERS if name != leads)
    dump, archive = back_up(project, tmp_path, server=other), keep_secrets(project, tmp_path)
    await asyncio.to_thread(project.compose, "down", "--volumes", "--timeout", "1")
    folder = project_folder(secrets=False)
    empty = replace(project, folder=folder)
    try:
        began = time.monotonic()
        unpack_secrets(archive, folder)
        await asyncio.to_thread(empty.compose, "up", "--detach", "--wait", *MEMBERS)
        leads = await until_primary(empty, MEMBERS[0])
        await asyncio.to_thread(read_dump, empty, dump, server=leads)
        await asyncio.to_thread(empty.compose, "up", "--detach", "--wait")
        wait_until_served(empty.address)
        print(f"restored with Patroni in {time.monotonic() - began:.1f} s")
        assert await asyncio.to_thread(spend, empty, merchant, card) == 2400
        await until_whole(empty, MEMBERS[0])
    finally:
        await asyncio.to_thread(empty.compose, "down", "--volumes", "--timeout", "1")
        shutil.rmtree(folder)
