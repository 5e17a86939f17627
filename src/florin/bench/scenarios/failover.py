"""Failover: a fleet with replicas under a constant load loses its primary repeatedly.

The result: the time until a write succeeds again, failed requests, and lost acknowledged writes.
The control does the same with asynchronous commits: it has to lose writes, else the benchmark could
not detect a loss.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import msgspec

from florin.bench.harness import current_commit, run_measurement
from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import ConstantRateLoad, LoggedRequest
from florin.bench.scenarios.fleet import BenchFleet, own_fleet
from florin.bench.verify import acknowledged_writes
from florin.bench.verify.failover_report import (
    REPLICAS,
    FailoverResult,
    Loss,
    Phase,
    format_failover,
    format_loss,
    percentile,
    write_gap_s,
)
from florin.ops.fleet import secrets
from florin.ops.fleet.observe import observe_fleet
from florin.ops.gameday import faults
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import open_session
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError, say, voice

_CARDS = 100
_AT_REST_S = 1.0
_WHOLE_WITHIN_S = 120
_ALARM = "florin_writes_maybe_lost_total{"
_WAITED_FOR = "show synchronous_standby_names"
_UNCONFIRMED = "alter system set synchronous_standby_names = ''"


@dataclass(frozen=True, slots=True)
class FailoverBenchConfig:
    instances: int
    connections: int
    rate: float
    rounds: int
    seed: int
    control: bool
    kinds: tuple[str, ...]

    @property
    def sequence(self) -> list[str]:
        return [self.kinds[n % len(self.kinds)] for n in range(self.rounds)]


def parse_kinds(only: list[str]) -> tuple[str, ...]:
    """Return the requested kinds of loss, by default all. Raises OperatorError."""
    for name in only:
        if name not in faults.LOSSES:
            raise OperatorError(f"Unknown kind {name}; use one of: {', '.join(faults.LOSSES)}.")
    return tuple(only or faults.LOSSES)


def main(terms: FailoverBenchConfig, *, as_json: bool) -> int:
    """Serve `florin bench failover`; return 1 on a lost or doubled write or a failure."""
    found = asyncio.run(run_measurement(_measure(terms, current_commit())))
    print(msgspec.json.encode(found).decode() if as_json else format_failover(found))
    return 0 if found.right else 1


async def _measure(terms: FailoverBenchConfig, measured: str) -> FailoverResult:
    with tempfile.TemporaryDirectory(prefix="florin-failover-") as folder:
        fleet = own_fleet(Path(folder), terms.instances, REPLICAS)
        try:
            await fleet.up()
            first = await run_phase(fleet, terms, terms.sequence)
            second = None
            if terms.control:
                await disable_synchronous_commit(fleet)
                say("The control: from here on commits wait for no replica.")
                second = await run_phase(fleet, terms, terms.kinds)
        finally:
            await asyncio.shield(fleet.florin("down"))
    times = sorted(loss.again_s for loss in first.losses)
    return FailoverResult(
        synchronous=first,
        asynchronous=second,
        again_p50_s=percentile(times, 50),
        again_p95_s=percentile(times, 95),
        again_most_s=times[-1],
        instances=terms.instances,
        rate=terms.rate,
        seed=terms.seed,
        commit=measured,
    )


async def run_phase(fleet: BenchFleet, terms: FailoverBenchConfig, kinds: Sequence[str]) -> Phase:
    """Lose the primary in each of these ways in turn, and check the ledger."""
    target = await fleet.sell_cards(cards=_CARDS)
    load = ConstantRateLoad(target, rate=terms.rate, connections=terms.connections, seed=terms.seed)
    log, found, before = list[LoggedRequest](), list[Loss](), await _alarms(fleet)
    async with load.running():
        for number, kind in enumerate(kinds, 1):
            voice.status(f"{number} of {len(kinds)}: {kind} …")
            await asyncio.sleep(_AT_REST_S)
            log += load.cut()
            loss, asked = await _lose(fleet, load, kind)
            log += asked
            found.append(loss)
            say(format_loss(loss))
        await asyncio.sleep(_AT_REST_S)
    log += load.cut()
    primary = faults.find_primary(fleet.home).address or ""
    url = postgres.postgres_url(primary, postgres.OWNER, secrets.read_secrets(fleet.home))
    return Phase(
        losses=found,
        requests=len(log),
        failures=sum(asked.failed for asked in log),
        answers=[f"{each.kind} {each.status}: {each.answer}" for each in log if each.failed][:5],
        kept=acknowledged_writes.check_acknowledged(
            log, await acknowledged_writes.read_recorded(url, target)
        ),
        differences=await constant_rate.ledger_differences(load),
        alarms=await _alarms(fleet) - before,
    )


async def _lose(
    fleet: BenchFleet, load: ConstantRateLoad, kind: str
) -> tuple[Loss, list[LoggedRequest]]:
    """Fault the primary; return once another one serves and the old one replicates from it."""
    before = faults.find_primary(fleet.home)
    assert before.pid is not None
    await faults.LOSSES[kind](before.pid)
    lost_at = time.monotonic()
    while not _replaced(fleet, before.name):
        if time.monotonic() > lost_at + _WHOLE_WITHIN_S:
            raise OperatorError(
                f"{before.name} was {kind}, and the fleet did not become complete again in time."
            )
        await asyncio.sleep(0.1)
    whole_s = time.monotonic() - lost_at
    await asyncio.sleep(_AT_REST_S)
    asked = load.cut()
    loss = Loss(
        kind=kind,
        again_s=round(write_gap_s(asked, lost_at), 3),
        whole_s=round(whole_s, 3),
        slowest_s=round(max((each.seconds for each in asked), default=inf), 3),
        requests=len(asked),
        failures=sum(each.failed for each in asked),
    )
    return loss, asked


def _replaced(fleet: BenchFleet, before: str) -> bool:
    now = observe_fleet(fleet.home).of("postgres-primary")
    return all(part.name != before for part in now) and faults.is_complete(fleet.home, REPLICAS)


async def disable_synchronous_commit(fleet: BenchFleet) -> None:
    """Let commits wait for no replica, on every server of the fleet."""
    for part in observe_fleet(fleet.home).parts:
        if not part.name.startswith("postgres"):
            continue
        url = postgres.postgres_url(
            part.address or "", postgres.SUPERUSER, secrets.read_secrets(fleet.home)
        )
        async with open_session(url) as connection:
            await connection.execute(_UNCONFIRMED)
            await connection.execute("select pg_reload_conf()")
            while await connection.fetchval(_WAITED_FOR):  # noqa: ASYNC110 -- no event announces it
                await asyncio.sleep(0.05)


async def _alarms(fleet: BenchFleet) -> float:
    """Return how often instances found the log short of a position that a caller was promised."""
    total = 0.0
    for part in observe_fleet(fleet.home).of("api"):
        answer = await http_probe.probe(part.metrics_address or "", "/metrics")
        for each in answer.body.decode().splitlines() if answer is not None else ():
            if each.startswith(_ALARM):
                total += float(each.rpartition(" ")[2])
    return total
