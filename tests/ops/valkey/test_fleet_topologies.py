"""Valkey with Sentinels, and as a cluster, as parts of a fleet: each is killed under load.

One fleet for all of it, in the order of the file: it starts with Sentinels and becomes a cluster.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florin.kit.valkey import client as valkey
from florin.ops.diagnostics.status import PartStatus
from florin.ops.diagnostics.status import read_status as look
from florin.ops.fleet import secrets
from florin.ops.fleet.model import Part
from florin.ops.fleet.observe import observe_fleet
from florin.ops.system import http_probe
from florin.ops.system import processes as pids
from florin.ops.topology.topology import running_urls
from florin.ops.valkey import client as ask
from florin.ops.valkey import role_monitor
from florin.ops.valkey.users import APPLICATION_SECRET, OPERATOR_SECRET
from tests.ops.conftest import until
from tests.ops.replicated_fleet import Fleet, running

WITHIN_S = 30
SENTINEL = {"valkey-primary": 1, "valkey-replica": 2, "sentinel": 3}
CLUSTER = {"valkey-primary": 3, "valkey-replica": 3}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    words = ("--replicas", "0", "--valkey", "sentinel")
    with running(tmp_path_factory.mktemp("topologies"), *words) as made:
        yield made


async def memory(fleet: Fleet) -> list[Part]:
    """Return the running Valkeys and Sentinels with the roles that they report."""
    seen = observe_fleet(fleet.home)
    roles = await role_monitor.read_roles(fleet.home, seen)
    parts = [part for part in seen.parts if part.name in roles and part.state == "ready"]
    return [replace(part, role=role) for part in parts if (role := roles[part.name])]


async def serving(fleet: Fleet) -> Counter[str]:
    return Counter(part.role for part in await memory(fleet))


async def one(fleet: Fleet, role: str) -> Part:
    return next(part for part in await memory(fleet) if part.role == role)


async def status(fleet: Fleet) -> dict[str, PartStatus]:
    return {part.name: part for part in (await look(fleet.home)).parts}


async def seen(fleet: Fleet, roles: dict[str, int]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while (there := await serving(fleet)) != roles:
        assert time.monotonic() < deadline, there
        await asyncio.sleep(0.05)


@asynccontextmanager
async def store(fleet: Fleet) -> AsyncGenerator[Any]:
    """Yield a client with the same URL as the instances."""
    client = valkey.connect_valkey(running_urls(fleet.home)["REDIS_URL"])
    try:
        yield client
    finally:
        await client.aclose()


async def writable(client: Any) -> float:
    """Wait until keys on every master can be written; return the seconds that passed."""
    began = time.monotonic()
    while True:
        try:
            for n in range(30):
                await client.set(valkey.valkey_key("each", f"{n}"), n)
        except valkey.GONE:
            assert time.monotonic() - began < WITHIN_S
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - began


async def replicated(fleet: Fleet, master: Part) -> None:
    """Wait until a replica has everything that the master has now."""
    address, password = master.address or "", secrets.read_secrets(fleet.home)[OPERATOR_SECRET]
    offset = (await ask.send_command(address, password, "ROLE"))[1]
    deadline = time.monotonic() + WITHIN_S
    while (
        max(int(each[2]) for each in (await ask.send_command(address, password, "ROLE"))[2])
        < offset
    ):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def killed(fleet: Fleet, part: Part, roles: dict[str, int]) -> None:
    """Kill a part; wait until keys can be written, the part is back and all roles are restored."""
    async with store(fleet) as client:
        await writable(client)  # all Sentinels agree on the primary after the previous loss
        for n in range(30):
            await client.set(valkey.valkey_key("kept", f"{n}"), n)
        if part.role == "valkey-primary":
            await replicated(fleet, part)
        assert part.process is not None
        pids.send_signal(part.process, signal.SIGKILL)
        took = await writable(client)
        print(f"{part.name}, a {part.role}, killed: written again after {took:.1f} s")
        for n in range(30):  # no part restarted empty
            assert await client.get(valkey.valkey_key("kept", f"{n}")) == str(n).encode()

    def back() -> bool:
        now = observe_fleet(fleet.home).part(part.name)
        return now is not None and now.process not in (None, part.process)

    await asyncio.to_thread(until, back, f"{part.name} to be started again", WITHIN_S)
    if part.role == "valkey-primary":
        await followed(fleet, part)
    await seen(fleet, roles)


async def followed(fleet: Fleet, part: Part) -> None:
    """Wait until the part is a replica."""
    deadline = time.monotonic() + WITHIN_S
    while part.name not in {p.name for p in await memory(fleet) if p.role == "valkey-replica"}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def again(fleet: Fleet, *words: str) -> set[str]:
    """Restart the fleet; return the parts that took over since, on a machine that was too busy."""
    log = fleet.home.log("supervisor")
    begun = log.stat().st_size
    await asyncio.to_thread(fleet.again, *words)
    said = log.read_bytes()[begun:].decode().splitlines()
    return {line.split()[0] for line in said if "took over as a primary" in line}


async def losses(fleet: Fleet, roles: dict[str, int]) -> None:
    """Kill one part of each role during redemptions: no request fails; the status shows it."""
    async with fleet.http() as http:
        enough = asyncio.Event()
        loading = asyncio.ensure_future(fleet.load(http, 120, enough=enough))
        try:
            before = await one(fleet, "valkey-primary")
            for role in roles:
                await killed(fleet, await one(fleet, role), roles)
        finally:
            enough.set()
            load = await loading
        await fleet.judge(http, load)
        print(f"{load.acknowledged.total()} redeemed, the slowest in {load.slowest_s:.2f} s")
    shown = await status(fleet)
    assert Counter(part.role for part in shown.values() if part.role in roles) == roles
    for part in await memory(fleet):
        assert (shown[part.name].state, shown[part.name].pid) == ("ready", part.pid)
    assert shown[before.name].restarts > 0

    def noted() -> bool:
        return any(
            "took over as a primary" in part.note for part in observe_fleet(fleet.home).parts
        )

    await asyncio.to_thread(until, noted, "the supervisor to record the failover", WITHIN_S)


def environ_of(part: Part) -> list[bytes]:
    return Path(f"/proc/{part.pid}/environ").read_bytes().split(b"\0")


async def asks_valkey(part: Part) -> bool:
    answer = await http_probe.probe(part.address or "", "/health")
    return answer is not None and answer.json()["checks"]["redis"]


async def has_url_scheme(fleet: Fleet, scheme: str) -> None:
    """Check that instances have the URL of the topology, and that it serves them."""
    for part in observe_fleet(fleet.home).of("api"):
        environ = environ_of(part)
        assert any(each.startswith(f"REDIS_URL={scheme}://".encode()) for each in environ)
        deadline = time.monotonic() + WITHIN_S
        while not await asks_valkey(part):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    known = secrets.read_secrets(fleet.home)
    for part in await memory(fleet):
        # The ACLs refused nothing to the application, the other servers or the Sentinels.
        assert (
            await ask.send_command(part.address or "", known[OPERATOR_SECRET], "ACL", "LOG") == []
        )
        with pytest.raises(ask.ValkeyRefused, match="WRONGPASS"):
            await ask.send_command(part.address or "", known[APPLICATION_SECRET], "PING")


@pytest.mark.slow
async def test_each_part_of_a_sentinel_topology_is_killed_under_load(fleet: Fleet) -> None:
    await seen(fleet, SENTINEL)
    await has_url_scheme(fleet, "redis+sentinel")
    await losses(fleet, SENTINEL)


@pytest.mark.long_form("fleets")
async def test_without_a_supervisor_the_sentinels_go_on(fleet: Fleet) -> None:
    """No part stops; another one becomes the primary; the next supervisor adopts the parts."""
    supervisor = next(iter(observe_fleet(fleet.home).of("supervisor")))
    assert supervisor.process is not None
    pids.send_signal(supervisor.process, signal.SIGKILL)
    await pids.wait_gone(supervisor.process)
    before = {part.name: part.process for part in await memory(fleet)}
    primary = await one(fleet, "valkey-primary")
    os.kill(primary.pid or 0, signal.SIGKILL)
    async with store(fleet) as client:
        await writable(client)
    await seen(fleet, SENTINEL | {"valkey-replica": 1})
    successor = (await one(fleet, "valkey-primary")).name
    assert (await status(fleet))[successor].role == "valkey-primary"
    fleet.asked = ("--replicas", "0", "--valkey", "cluster")
    with pytest.raises(AssertionError, match="Valkey runs as sentinel and cannot change"):
        await asyncio.to_thread(fleet.up)
    fleet.asked = ()
    await asyncio.to_thread(fleet.up)
    await seen(fleet, SENTINEL)
    after = {part.name: part.process for part in await memory(fleet)}
    assert {name for name in after if after[name] != before[name]} == {primary.name}
    assert (await one(fleet, "valkey-primary")).name == successor


@pytest.mark.slow
async def test_a_fleet_that_was_stopped_starts_as_it_was(fleet: Fleet) -> None:
    urls, primary = running_urls(fleet.home), (await one(fleet, "valkey-primary")).name
    processes = [part.process for part in await memory(fleet)]
    replaced = await again(fleet)
    assert not any(pids.is_alive(process) for process in processes if process)
    await seen(fleet, SENTINEL)
    assert running_urls(fleet.home) == urls
    assert (await one(fleet, "valkey-primary")).name in {primary, *replaced}
    async with store(fleet) as client:
        await writable(client)


@pytest.mark.long_form("fleets")
async def test_a_stopped_fleet_becomes_a_cluster_each_is_killed_under_load(fleet: Fleet) -> None:
    await again(fleet, "--valkey", "cluster")
    await seen(fleet, CLUSTER)
    await has_url_scheme(fleet, "redis+cluster")
    await losses(fleet, CLUSTER)


@pytest.mark.long_form("fleets")
async def test_a_cluster_that_was_stopped_starts_as_it_was(fleet: Fleet) -> None:
    urls = running_urls(fleet.home)
    roles = {part.name: part.role for part in await memory(fleet)}
    replaced = await again(fleet)
    assert running_urls(fleet.home) == urls
    assert replaced or {part.name: part.role for part in await memory(fleet)} == roles

    def whole() -> bool:
        return fleet.florin("status").returncode == 0

    await asyncio.to_thread(until, whole, "the status to be well", WITHIN_S)
    async with store(fleet) as client:
        await writable(client)
