"""Deploys: a fleet under a constant load during each kind of change, fault and faulty release.

Every kind is repeated until it has seen the number of requests of `--requests`. The result is the
number of failed requests, and the p99 during the change compared with the p99 at rest.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import ConstantRateLoad, LoggedRequest
from florin.bench.scenarios.fleet import BenchFleet, own_fleet
from florin.ops.fleet import desired_state
from florin.ops.system.console import OperatorError, say, voice

_CARDS = 100
_REST_S = 1.0  # after a change; its requests count with the change


@dataclass(frozen=True, slots=True)
class DeployBenchConfig:
    instances: int
    connections: int
    rate: float
    requests: int
    seconds: float
    seed: int
    kinds: tuple[str, ...]


class DeployRow(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of the requests during one kind of change."""

    kind: str
    changes: int
    requests: int
    failures: int
    allowed: bool  # failures are expected: the balancer is killed, or the release answers 500
    p50_ms: float
    p99_ms: float
    most_ms: float
    answers: list[str]


class DeployResult(msgspec.Struct, frozen=True, kw_only=True):
    instances: int
    rate: float
    rows: list[DeployRow]
    differences: list[str]

    @property
    def right(self) -> bool:
        return not self.differences and all(row.allowed or not row.failures for row in self.rows)


_BETWEEN_S = 15  # the supervisor gives up a part that dies much more often

Change = Callable[[BenchFleet], Awaitable[object]]


async def _rollback(fleet: BenchFleet) -> None:
    if not desired_state.load_desired_state(fleet.home).previous:
        await fleet.deploy("good")
    await fleet.florin("rollback")


async def _scale(fleet: BenchFleet) -> None:
    await fleet.florin("scale", f"api={fleet.instances + 2}")
    await fleet.florin("scale", f"api={fleet.instances}")


async def _kills(fleet: BenchFleet) -> None:
    for number in range(12):
        await fleet.kill(f"api-{number % fleet.instances + 1}", signal.SIGKILL)


async def _cut_off(fleet: BenchFleet) -> None:
    for step in range(1, 5 * fleet.instances + 6):
        await fleet.cut_off(step)


async def _balancer(fleet: BenchFleet) -> None:
    await fleet.kill("balancer", signal.SIGKILL)
    await asyncio.sleep(_BETWEEN_S)


async def _single(fleet: BenchFleet) -> None:
    await fleet.florin("scale", "api=1")
    await fleet.florin("restart", "api-1")
    await fleet.florin("deploy", "--soak", "1s")
    await fleet.florin("scale", f"api={fleet.instances}")


async def _balance(fleet: BenchFleet) -> None:
    for algorithm in ("leastconn", "iphash", "roundrobin"):
        await fleet.florin("balance", algorithm)
        await asyncio.sleep(1)


def _bad(release: str) -> Change:
    return lambda fleet: fleet.deploy(release, expect=1, soak="5s")


# Name, change, and whether some failures are expected.
KINDS: tuple[tuple[str, Change, bool], ...] = (
    ("rolling", lambda fleet: fleet.deploy("good"), False),
    ("rollback", _rollback, False),
    ("scale", _scale, False),
    ("restart", lambda fleet: fleet.florin("restart", "api-1"), False),
    ("balance", _balance, False),
    ("does not start", _bad("does not start"), False),
    ("is never ready", _bad("is never ready"), False),
    ("dies soon", _bad("dies soon"), False),
    ("is slow", _bad("is slow"), False),
    ("answers 500", _bad("answers 500"), True),
    ("kill -9 x 12", _kills, False),
    ("terminated", lambda fleet: fleet.kill("api-1", signal.SIGTERM), False),
    ("frozen", lambda fleet: fleet.kill("api-1", signal.SIGSTOP), False),
    ("single instance", _single, False),
    ("supervisor killed", _cut_off, False),
    ("balancer killed", _balancer, True),
)


def main(
    *,
    as_json: bool,
    instances: int,
    connections: int,
    rate: float,
    requests: int,
    seconds: float,
    seed: int,
    only: list[str],
) -> int:
    """Serve `florin bench deploys`; return 1 when a request failed that must not."""
    names = [name for name, _, _ in KINDS]
    for name in only:
        if name not in names:
            raise OperatorError(f"Unknown kind {name}; use one of: {', '.join(names)}.")
    terms = DeployBenchConfig(
        instances, connections, rate, requests, seconds, seed, tuple(only or names)
    )
    found = asyncio.run(_measure(terms))
    voice.clear()
    print(msgspec.json.encode(found).decode() if as_json else format_deploys(found))
    return 0 if found.right else 1


async def _measure(terms: DeployBenchConfig) -> DeployResult:
    task = asyncio.current_task()
    assert task is not None
    # SIGTERM ends the run as Ctrl-C does: all parts are stopped.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="florin-deploys-") as folder:
        fleet = own_fleet(Path(folder), terms.instances)
        try:
            await fleet.up()
            target = await fleet.sell_cards(cards=_CARDS)
            load = ConstantRateLoad(
                target, rate=terms.rate, connections=terms.connections, seed=terms.seed
            )
            rows = await _rows(fleet, load, terms)
            differences = await constant_rate.ledger_differences(load)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            await asyncio.shield(fleet.florin("down"))
    return DeployResult(
        instances=terms.instances, rate=terms.rate, rows=rows, differences=differences
    )


async def _rows(
    fleet: BenchFleet, load: ConstantRateLoad, terms: DeployBenchConfig
) -> list[DeployRow]:
    rows: list[DeployRow] = []
    async with load.running():
        await asyncio.sleep(1)
        load.cut()
        await asyncio.sleep(terms.seconds)
        rows.append(_row("steady", 0, load.cut(), allowed=False))
        for name, change, allowed in KINDS:
            if name not in terms.kinds:
                continue
            log, changes = list[LoggedRequest](), 0
            while not changes or len(log) < terms.requests:
                voice.status(f"{name}: {len(log)} requests …")
                await change(fleet)
                await asyncio.sleep(_REST_S)
                log += load.cut()
                changes += 1
            rows.append(_row(name, changes, log, allowed=allowed))
            say(_line(rows[-1]))
    return rows


def _row(kind: str, changes: int, log: list[LoggedRequest], *, allowed: bool) -> DeployRow:
    figures = constant_rate.latency_figures(log)
    answers = [f"{asked.kind} {asked.status}: {asked.answer}" for asked in log if asked.failed][:5]
    return DeployRow(
        kind=kind,
        changes=changes,
        requests=figures.requests,
        failures=figures.failures,
        allowed=allowed,
        p50_ms=round(figures.p50_ms, 2),
        p99_ms=round(figures.p99_ms, 2),
        most_ms=round(figures.most_ms, 1),
        answers=answers,
    )


def _line(row: DeployRow) -> str:
    return (
        f"{row.kind:<18}{row.changes:>8}{row.requests:>10}{row.failures:>10}"
        f"{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}{row.most_ms:>10.1f}"
    )


def format_deploys(result: DeployResult) -> str:
    head = (
        f"deploys: {result.instances} instances, at most {result.rate:g} requests per second,"
        f" Python {sys.version.split()[0]}"
    )
    columns = (
        f"{'kind':<18}{'changes':>8}{'requests':>10}{'failures':>10}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'most ms':>10}"
    )
    notes = [f"{row.kind}: {said}" for row in result.rows for said in row.answers[:2]]
    ledger = "; ".join(result.differences[:3]) or "equals the log to the cent"
    return "\n".join(
        [head, "", columns, *map(_line, result.rows), "", *notes, f"The ledger {ledger}."]
    )
