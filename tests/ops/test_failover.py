"""The primary is killed, frozen and switched under load: requests wait for the next, none fails."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.ops.conftest import until

from florin.ops.engines.election import Seen, elect
from florin.ops.home import Home
from florin.ops.observe import observe
from florin.ops.ports import free_port

ROOT = Path(__file__).parents[2]
WRITES_AGAIN_WITHIN_S = 10.0  # on a machine that others use, too; bench failover measures
BOTH = frozenset({"b", "c"})


def standby(received: int) -> Seen:
    return Seen(standby=True, received=received)


@pytest.mark.parametrize(
    ("seen", "others", "more", "chosen"),
    [
        ({"b": standby(5), "c": standby(7)}, BOTH, {}, "c"),
        ({"b": standby(7), "c": standby(7)}, BOTH, {"wish": "c"}, "c"),
        ({"b": standby(7), "c": standby(5)}, BOTH, {"wish": "c"}, "b"),
        ({"c": standby(7)}, BOTH, {}, None),  # b may have what c has not
        ({"c": standby(7)}, BOTH, {"accept_loss": True}, "c"),
        ({"b": standby(9), "c": standby(7)}, BOTH, {"accept_loss": True, "wish": "c"}, "c"),
        ({"b": standby(7)}, frozenset({"b"}), {}, None),  # one replica: nobody waited for it
        ({"b": standby(7)}, frozenset({"b"}), {"least": 7}, "b"),  # the old one ended in order
        ({"b": standby(6)}, frozenset({"b"}), {"least": 7}, None),
        ({"b": standby(8), "c": standby(9)}, BOTH, {"least": 7, "wish": "b"}, "b"),
        ({"b": Seen(standby=False, received=9), "c": standby(7)}, BOTH, {}, None),
        ({}, BOTH, {"accept_loss": True}, None),
    ],
)
def test_who_takes_over(
    seen: dict[str, Seen], others: frozenset[str], more: dict[str, Any], chosen: str | None
) -> None:
    assert elect(seen, others, **more) == chosen


@dataclass(slots=True)
class Load:
    """What clients were told."""

    cards: list[str] = field(default_factory=list[str])
    acknowledged: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    slowest_s: float = 0.0


class Fleet:
    """One fleet from the command line, with two replicas."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.port = free_port()
        ours = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "FLORIN_", "PG")
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self.environ |= {"PYTHONPATH": str(ROOT / "src"), "FLORIN_CHECKOUT": str(ROOT)}

    def florin(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "florin", *words, "--home", str(self.home.path)],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def up(self, *more: str) -> None:
        words = ("up", "--replicas", "2", "--api", "2", "--port", str(self.port), "--detach")
        said = self.florin(*words, *more)
        assert said.returncode == 0, said.stderr

    def primary(self) -> Any:
        return next(part for part in observe(self.home).of("postgres-primary"))

    def signal(self, number: signal.Signals) -> str:
        """Send it to the primary, and with it to all its children where they are to stop."""
        part = self.primary()
        pids = [part.pid]
        if number == signal.SIGSTOP:
            path = Path(f"/proc/{part.pid}/task/{part.pid}/children")
            pids += [int(pid) for pid in path.read_text("ascii").split()]
        for pid in pids:
            os.kill(pid, number)
        return part.name

    def whole(self) -> bool:
        """Whether there is a primary, and two replicas that serve."""
        parts = [part for part in observe(self.home).parts if part.name.startswith("postgres")]
        roles = Counter(part.role for part in parts if part.state == "ready" and part.process)
        return roles == {"postgres-primary": 1, "postgres-replica": 2}

    @asynccontextmanager
    async def http(self) -> AsyncGenerator[httpx.AsyncClient]:
        demo = json.loads((self.home.path / "demo.json").read_text("utf-8"))
        headers = {"Authorization": f"Bearer {demo['api_key']}"}
        base = f"http://127.0.0.1:{self.port}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            client.headers["x-program"] = demo["program"]
            yield client

    async def load(self, http: httpx.AsyncClient, seconds: float, clients: int = 6) -> Load:
        """Redeem and list in a loop; what is listed must hold what was just redeemed."""
        load, tag = Load(), uuid.uuid4().hex[:8]
        until_ = time.monotonic() + seconds

        async def client(n: int) -> None:
            body: dict[str, Any] = {"program": http.headers["x-program"], "amount": 10_000}
            sold = await http.post("/cards", json=body, headers={"Idempotency-Key": f"{tag} {n}"})
            card = sold.json()["id"]
            load.cards.append(card)
            count = 0
            while time.monotonic() < until_:
                count += 1
                began = time.monotonic()
                said = await http.post(
                    "/redemptions",
                    json={"card": card, "amount": 1, "currency": "EUR"},
                    headers={"Idempotency-Key": f"{tag} {n} {count}"},
                )
                load.slowest_s = max(load.slowest_s, time.monotonic() - began)
                if said.status_code != 201:
                    load.failed.append(said.text)
                    continue
                load.acknowledged[card] += 1
                listed = await http.get(f"/cards/{card}/entries", params={"limit": 1})
                if listed.status_code != 200:
                    load.failed.append(listed.text)
                elif listed.json()["data"][0]["balance_after"] != said.json()["balance"]:
                    load.failed.append("stale")

        await asyncio.gather(*(client(n) for n in range(clients)))
        return load

    async def judge(self, http: httpx.AsyncClient, load: Load) -> None:
        """Nothing failed; all that was acknowledged is there, once; the books are right."""
        assert load.failed == []
        for card in load.cards:
            found = (await http.get(f"/cards/{card}")).json()
            assert 10_000 - found["balance"] == load.acknowledged[card]
        assert (await http.get("/ledger/proof")).json()["balanced"] is True
        assert load.slowest_s < WRITES_AGAIN_WITHIN_S


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("failover"))
    made.home.path.chmod(0o755)
    try:
        made.up()
        yield made
    finally:
        made.florin("down")


async def test_the_primary_is_killed(fleet: Fleet) -> None:
    async with fleet.http() as http:
        loading = asyncio.ensure_future(fleet.load(http, 5))
        await asyncio.sleep(1.5)
        before = fleet.signal(signal.SIGKILL)
        load = await loading
        assert fleet.primary().name != before
        await fleet.judge(http, load)
        print(f"killed: slowest {load.slowest_s:.2f} s of {load.acknowledged.total()}")
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")


async def test_the_primary_is_frozen(fleet: Fleet) -> None:
    """It is ended before another one takes over: it can acknowledge nothing when it wakes up."""
    async with fleet.http() as http:
        loading = asyncio.ensure_future(fleet.load(http, 6))
        await asyncio.sleep(1)
        before = fleet.signal(signal.SIGSTOP)
        load = await loading
        assert fleet.primary().name != before
        await fleet.judge(http, load)
        print(f"frozen: slowest {load.slowest_s:.2f} s of {load.acknowledged.total()}")
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")


async def test_the_primary_is_switched_on_purpose(fleet: Fleet) -> None:
    async with fleet.http() as http:
        wanted = observe(fleet.home).of("postgres-replica")[-1].name
        loading = asyncio.ensure_future(fleet.load(http, 4))
        await asyncio.sleep(1)
        said = await asyncio.to_thread(fleet.florin, "failover", "--to", wanted, "--json")
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout)["primary"] == wanted
        load = await loading
        assert fleet.primary().name == wanted
        await fleet.judge(http, load)
    refused = await asyncio.to_thread(fleet.florin, "failover", "--to", wanted)
    assert refused.returncode != 0
    assert "is no replica" in refused.stderr
    await asyncio.to_thread(until, fleet.whole, "the old primary to follow the new one")


async def test_the_supervisor_was_away_when_the_primary_died(fleet: Fleet) -> None:
    supervisor = next(iter(observe(fleet.home).of("supervisor")))
    assert supervisor.pid is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    before = fleet.signal(signal.SIGKILL)
    await asyncio.to_thread(fleet.up)
    assert fleet.primary().name != before
    async with fleet.http() as http:
        await fleet.judge(http, await fleet.load(http, 1))
    await asyncio.to_thread(until, fleet.whole, "all three")


async def test_a_fleet_that_was_stopped_starts_where_its_primary_is(fleet: Fleet) -> None:
    before = fleet.primary().name
    assert (await asyncio.to_thread(fleet.florin, "down")).returncode == 0
    await asyncio.to_thread(fleet.up)
    assert fleet.primary().name == before
    async with fleet.http() as http:
        await fleet.judge(http, await fleet.load(http, 1))
