"""Replicated fleet: one from the command line, and clients that detect lost writes."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from florin.bench.scenarios import fleet
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import observe_fleet
from florin.ops.gameday import faults
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import open_session
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
WRITES_AGAIN_WITHIN_S = 40.0  # generous, for a shared machine; `florin bench failover` measures


@dataclass(slots=True)
class Load:
    """The answers that clients received."""

    cards: list[str] = field(default_factory=list[str])
    acknowledged: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    slowest_s: float = 0.0


class Fleet:
    """A fleet started from the command line, with two replicas by default."""

    def __init__(self, path: Path, *asked: str) -> None:
        self.home = Home(path)
        self.asked = asked or ("--replicas", "2")
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
            timeout=300,
        )

    def up(self, *more: str) -> None:
        words = ("up", "--api", "2", "--port", str(self.port), "--detach")
        result = self.florin(*words, *self.asked, *more)
        assert result.returncode == 0, result.stderr

    def again(self, *more: str) -> None:
        """Stop it, and start it with these options only: the rest is remembered."""
        assert self.florin("down").returncode == 0
        result = self.florin("up", "--port", str(self.port), "--detach", *more)
        assert result.returncode == 0, result.stderr

    def end(self) -> None:
        """Stop it, and remove its data outside the home (other users cannot enter pytest's)."""
        self.florin("down")
        place = self.home.layout().data_dir
        if place is not None and place.startswith("/var/lib/florin/homes/"):
            shutil.rmtree(place, ignore_errors=True)

    def primary(self) -> Any:
        return next(part for part in observe_fleet(self.home).of("postgres-primary"))

    def signal(self, number: signal.Signals) -> str:
        """Send a signal to the primary; SIGSTOP and SIGCONT go to its children as well."""
        part = self.primary()
        for pid in faults.process_tree(part.pid) if number == signal.SIGSTOP else [part.pid]:
            os.kill(pid, number)
        return part.name

    def data(self, name: str) -> Path:
        """The data directory of a server."""
        place = Path(self.home.layout().data_dir or "")
        return place / ("postgres" if name == "postgres-1" else name) / "data"

    def url(self, name: str, role: str) -> str:
        part = observe_fleet(self.home).part(name)
        assert part is not None
        return postgres.postgres_url(part.address or "", role, secrets.read_secrets(self.home))

    def whole(self) -> bool:
        """Whether there are a primary and two replicas that serve."""
        return faults.is_complete(self.home, 2)

    def bench(self) -> fleet.BenchFleet:
        """The same fleet, as the type that benchmarks use."""
        return fleet.BenchFleet(self.home, self.port, self.home.path / "releases", 2, 2)

    @asynccontextmanager
    async def http(self) -> AsyncGenerator[httpx.AsyncClient]:
        demo = json.loads((self.home.path / "demo.json").read_text("utf-8"))
        headers = {"Authorization": f"Bearer {demo['api_key']}"}
        base = f"http://127.0.0.1:{self.port}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            client.headers["x-program"] = demo["program"]
            yield client

    @asynccontextmanager
    async def segments_ending(self) -> AsyncGenerator[None]:
        """End a log segment twice a second, so that no test waits for `archive_timeout`."""

        async def end() -> None:
            while True:
                url = self.url(self.primary().name, postgres.SUPERUSER)
                async with open_session(url) as connection:
                    await connection.execute("select pg_switch_wal()")
                await asyncio.sleep(0.5)

        task = asyncio.ensure_future(end())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def load(
        self,
        http: httpx.AsyncClient,
        seconds: float,
        clients: int = 6,
        enough: asyncio.Event | None = None,
        *,
        least: int = 1,
    ) -> Load:
        """Redeem and list in a loop; each list must contain the redemption just made.

        It runs for `seconds` or until `enough`, and until each client did so `least` times.
        """
        load, tag = Load(), uuid.uuid4().hex[:8]
        until_ = time.monotonic() + seconds

        async def client(n: int) -> None:
            body: dict[str, Any] = {"program": http.headers["x-program"], "amount": 10_000}
            sold = await http.post("/cards", json=body, headers={"Idempotency-Key": f"{tag} {n}"})
            card = sold.json()["id"]
            load.cards.append(card)
            count = 0
            while count < least or (time.monotonic() < until_ and not (enough and enough.is_set())):
                count += 1
                began = time.monotonic()
                answer = await http.post(
                    "/redemptions",
                    json={"card": card, "amount": 1, "currency": "EUR"},
                    headers={"Idempotency-Key": f"{tag} {n} {count}"},
                )
                load.slowest_s = max(load.slowest_s, time.monotonic() - began)
                if answer.status_code != 201:
                    load.failed.append(answer.text)
                    continue
                load.acknowledged[card] += 1
                listed = await http.get(f"/cards/{card}/entries", params={"limit": 1})
                if listed.status_code != 200:
                    load.failed.append(listed.text)
                elif listed.json()["data"][0]["balance_after"] != answer.json()["balance"]:
                    load.failed.append("stale")

        await asyncio.gather(*(client(n) for n in range(clients)))
        return load

    async def judge(self, http: httpx.AsyncClient, load: Load) -> None:
        """Check that nothing failed, each acknowledged write is there once, the ledger balances."""
        assert load.failed == []
        for card in load.cards:
            found = (await http.get(f"/cards/{card}")).json()
            assert 10_000 - found["balance"] == load.acknowledged[card]
        assert (await http.get("/ledger/proof")).json()["balanced"] is True
        assert load.slowest_s < WRITES_AGAIN_WITHIN_S


@contextmanager
def running(folder: Path, *asked: str) -> Generator[Fleet]:
    """Run a fleet in the folder, and stop it afterwards."""
    made = Fleet(folder, *asked)
    made.home.path.chmod(0o755)
    try:
        made.up()
        yield made
    finally:
        made.end()
