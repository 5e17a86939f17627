"""Replica reads: callers read their own writes at any instance, while replicas lag at random.

The servers' own logs show who answered: which share of the replica reads the replicas answered, and
that no replica received a statement about money, keys or access.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from florin.bench.environment.dataset import FUNDS, card_id, make_dataset, make_keys
from florin.bench.environment.replicas import start_members
from florin.bench.environment.servers import BenchInstance, BenchServers, bench_servers
from florin.bench.harness import current_commit, run_measurement
from florin.bench.load.constant_rate import HttpConnection
from florin.bench.scenarios import read_your_writes
from florin.bench.scenarios.read_your_writes import PauseCounts, ReadCounts
from florin.bench.verify import statement_log
from florin.kit import ids
from florin.kit.postgres.database import open_connection
from florin.ops.postgres import server as postgres
from florin.ops.postgres.replica_set import ReplicaSet
from florin.ops.system.console import voice

REPLICAS = 2
SHARE_WANTED = 0.8
_OK = range(200, 300)
_WATCH_S = 1.5  # an instance uses a replica after three probes of it
_ASKS = "florin api-"  # the application name of instances' connections; others only monitor


@dataclass(frozen=True, slots=True)
class ReplicaReadConfig:
    instances: int
    callers: int
    reads: int
    seed: int


class ReplicaReadResult(msgspec.Struct, frozen=True, kw_only=True):
    reads: int
    writes: int
    stale: list[str]
    failures: list[str]
    pauses: int
    share: float  # the share of the replica reads that replicas answered
    servers: dict[str, statement_log.StatementCounts]
    primary: str
    instances: int
    callers: int
    seed: int
    seconds: float
    commit: str

    @property
    def right(self) -> bool:
        strayed = any(s.decisions for name, s in self.servers.items() if name != self.primary)
        # Each read is at least one statement, so the logs must hold at least as many.
        whole = sum(server.reads for server in self.servers.values()) >= self.reads
        return not (self.stale or self.failures or strayed) and self.share > 0 and whole


@dataclass(slots=True)
class Callers:
    """Callers, each with an API key, a card, and a connection to every instance."""

    currency: str
    chance: random.Random
    cards: dict[str, str]
    connections: dict[str, list[HttpConnection]]
    failures: list[str] = field(default_factory=list[str])
    number: int = 0

    async def write(self, name: str) -> int | None:
        """Redeem one cent; return how many cents were redeemed by then."""
        self.number += 1
        body = {"card": self.cards[name], "amount": 1, "currency": self.currency}
        answer = await self._ask(name, "POST", "/redemptions", body, f"own-{self.number}")
        return None if answer is None else FUNDS - answer["balance"]

    async def read(self, name: str) -> int | None:
        """Return how many cents were redeemed according to one of two lists."""
        card = self.cards[name]
        if self.chance.random() < 1 / 2:
            answer = await self._ask(name, "GET", f"/cards/{card}/entries?limit=1")
            return None if answer is None else FUNDS - answer["data"][0]["balance_after"]
        answer = await self._ask(name, "GET", f"/redemptions?card={card}&limit=1")
        if answer is None:
            return None
        return FUNDS - answer["data"][0]["balance"] if answer["data"] else 0

    async def _ask(
        self, name: str, method: str, path: str, body: object = None, key: str = ""
    ) -> Any:
        """Return the document of an answer; None when the request failed, which is recorded."""
        answer: Any
        try:
            connection = self.chance.choice(self.connections[name])
            status, answer = await connection.ask(method, path, body, key)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            status, answer = 0, f"{type(error).__name__}: {error}"
        if status not in _OK:
            self.failures.append(f"{method} {path} {status}: {answer}"[:300])
            return None
        return answer


def main(terms: ReplicaReadConfig, *, as_json: bool) -> int:
    """Serve `florin bench replicas`; return 1 when a read was stale or on the wrong server."""
    found = asyncio.run(run_measurement(_measure(terms, current_commit())))
    print(msgspec.json.encode(found).decode() if as_json else format_replica_reads(found))
    return 0 if found.right else 1


async def _measure(terms: ReplicaReadConfig, measured: str) -> ReplicaReadResult:
    async with bench_servers(measured) as bench, AsyncExitStack() as stack:
        standbys = await start_members(bench, REPLICAS, statement_log.SETTINGS)
        members = standbys.members
        instances = [
            await bench.start_instance(settings=standbys.settings) for _ in range(terms.instances)
        ]
        callers = await _callers(bench, instances, terms)
        for several in callers.connections.values():
            for connection in several:
                stack.callback(connection.close)
        primary = bench.server.name
        await asyncio.sleep(_WATCH_S)
        before = _logs(bench, members)
        begun = time.monotonic()
        found, pauses = await _follow(bench, members, callers, terms)
        seconds = time.monotonic() - begun
        servers = statement_log.classify_statements(primary, before, _logs(bench, members))
    return ReplicaReadResult(
        reads=found.reads,
        writes=found.writes,
        stale=found.stale,
        failures=callers.failures,
        pauses=pauses.count,
        share=round(statement_log.replica_share(primary, servers), 4),
        servers=servers,
        primary=primary,
        instances=terms.instances,
        callers=terms.callers,
        seed=terms.seed,
        seconds=round(seconds, 1),
        commit=measured,
    )


async def _callers(
    bench: BenchServers, instances: list[BenchInstance], terms: ReplicaReadConfig
) -> Callers:
    dataset = await make_dataset(bench, cards=terms.callers)
    keys = await make_keys(bench, dataset, terms.callers)
    names = [f"caller {n}" for n in range(1, terms.callers + 1)]
    return Callers(
        currency="EUR",
        chance=random.Random(terms.seed),
        cards={name: ids.show_id("crd", card_id(n)) for n, name in enumerate(names, 1)},
        connections={
            name: [HttpConnection(each.address, key) for each in instances]
            for name, key in zip(names, keys, strict=True)
        },
    )


async def _follow(
    bench: BenchServers, members: ReplicaSet, callers: Callers, terms: ReplicaReadConfig
) -> tuple[ReadCounts, PauseCounts]:
    others = members.others(bench.server.name).values()
    admins = [
        await open_connection(each.url(postgres.SUPERUSER), name="florin bench") for each in others
    ]
    try:
        async with read_your_writes.pause_replay(admins, callers.chance) as pauses:
            voice.status(f"{terms.reads} reads …")
            found = await read_your_writes.run_callers(
                list(callers.cards),
                callers.write,
                callers.read,
                reads=terms.reads,
                chance=callers.chance,
            )
        return found, pauses
    finally:
        for admin in admins:
            admin.terminate()


def _logs(bench: BenchServers, members: ReplicaSet) -> dict[str, Counter[str]]:
    """Return the statements of instances at each server so far, with their counts."""
    return {
        name: Counter(
            what
            for who, what in statement_log.read_statements(bench.home.log(name))
            if who.startswith(_ASKS)
        )
        for name in members.servers
    }


def format_replica_reads(result: ReplicaReadResult) -> str:
    met = "met" if result.share >= SHARE_WANTED else "not met"
    head = (
        f"replicas: {result.callers} callers read their own writes at {result.instances} instances;"
        f" {REPLICAS} replicas, replay paused {result.pauses} times"
    )
    lines = [
        head,
        "",
        f"  reads       {result.reads:,} (and {result.writes:,} writes) in {result.seconds:g} s",
        f"  stale       {len(result.stale)}",
        f"  failures    {len(result.failures)}",
        f"  by replicas {result.share:.1%} of those allowed; target {SHARE_WANTED:.0%}: {met}",
        "",
        f"  {'server':<12}{'reads':>12}{'decisions':>12}   by its own log",
    ]
    for name, server in result.servers.items():
        who = "   the primary" if name == result.primary else ""
        lines.append(f"  {name:<12}{server.reads:>12,}{server.decisions:>12,}{who}")
    lines += [f"  {each}" for each in (*result.stale[:5], *result.failures[:5])]
    return "\n".join([*lines, "", f"seed {result.seed}; commit {result.commit}."])
