"""Deploys: a fleet under a constant load during each kind of change, fault and faulty release.

Every kind is repeated until it has seen the number of requests of `--requests`. The result is the
number of failed requests, and the p99 during the change compared with the p99 at rest.
"""

import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from florin.bench.environment.small_disk import small_disk
from florin.bench.load import constant_rate
from florin.bench.load.constant_rate import ConstantRateLoad, LoggedRequest
from florin.bench.scenarios.deploy_kinds import DISK_FULL, KINDS
from florin.bench.scenarios.fleet import BenchFleet, own_fleet
from florin.ops.fleet import audit_log
from florin.ops.system.console import OperatorError, say, voice

_CARDS = 100
_DISK_MB = 512
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
    seconds: float  # of one change, on average
    audit: str  # the outcome of the last change in the audit trail, and its reason
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
        with small_disk(fleet.home.path / "releases", _DISK_MB) as mounted:
            try:
                await fleet.up()
                target = await fleet.sell_cards(cards=_CARDS)
                load = ConstantRateLoad(
                    target, rate=terms.rate, connections=terms.connections, seed=terms.seed
                )
                rows = await _rows(fleet, load, _possible(terms, mounted=mounted))
                differences = await constant_rate.ledger_differences(load)
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            finally:
                await asyncio.shield(fleet.florin("down"))
    return DeployResult(
        instances=terms.instances, rate=terms.rate, rows=rows, differences=differences
    )


def _possible(terms: DeployBenchConfig, *, mounted: bool) -> DeployBenchConfig:
    """Leave out what needs a disk of its own where none may be mounted."""
    if mounted or DISK_FULL not in terms.kinds:
        return terms
    say(f"{DISK_FULL}: left out, since it needs root to mount a disk")
    return replace(terms, kinds=tuple(name for name in terms.kinds if name != DISK_FULL))


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
            log, changes, begun = list[LoggedRequest](), 0, time.monotonic()
            while not changes or len(log) < terms.requests:
                voice.status(f"{name}: {len(log)} requests …")
                await change(fleet)
                await asyncio.sleep(_REST_S)
                log += load.cut()
                changes += 1
            seconds = (time.monotonic() - begun) / changes - _REST_S
            row = _row(name, changes, log, allowed=allowed)
            audit = _last_change(fleet)
            rows.append(msgspec.structs.replace(row, seconds=round(seconds, 1), audit=audit))
            say(_line(rows[-1]))
    return rows


def _last_change(fleet: BenchFleet) -> str:
    """Return what the audit trail says about the last operation of an operator."""
    entries = audit_log.read_operations(fleet.home, 20)
    found = [entry for entry in entries if entry.outcome != "begun" and entry.who != "florin"]
    return f"{found[-1].outcome}: {found[-1].message}" if found else ""


def _row(kind: str, changes: int, log: list[LoggedRequest], *, allowed: bool) -> DeployRow:
    figures = constant_rate.latency_figures(log)
    answers = [f"{asked.kind} {asked.status}: {asked.answer}" for asked in log if asked.failed][:5]
    return DeployRow(
        kind=kind,
        changes=changes,
        requests=figures.requests,
        failures=figures.failures,
        allowed=allowed,
        seconds=0.0,
        audit="",
        p50_ms=round(figures.p50_ms, 2),
        p99_ms=round(figures.p99_ms, 2),
        most_ms=round(figures.most_ms, 1),
        answers=answers,
    )


def _line(row: DeployRow) -> str:
    return (
        f"{row.kind:<22}{row.changes:>8}{row.requests:>10}{row.failures:>10}{row.seconds:>9.1f}"
        f"{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}{row.most_ms:>10.1f}"
    )


def format_deploys(result: DeployResult) -> str:
    head = (
        f"deploys: {result.instances} instances, at most {result.rate:g} requests per second,"
        f" Python {sys.version.split()[0]}"
    )
    columns = (
        f"{'kind':<22}{'changes':>8}{'requests':>10}{'failures':>10}{'seconds':>9}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'most ms':>10}"
    )
    notes = [f"{row.kind}: {row.audit}" for row in result.rows if row.audit]
    notes += [f"{row.kind}: {said}" for row in result.rows for said in row.answers[:2]]
    ledger = "; ".join(result.differences[:3]) or "equals the log to the cent"
    return "\n".join(
        [head, "", columns, *map(_line, result.rows), "", *notes, f"The ledger {ledger}."]
    )
