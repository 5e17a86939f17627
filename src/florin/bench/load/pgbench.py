"""Pgbench: the same work on the same server without Florin: one call per transaction.

A redemption is one call of the ledger's SQL function by the application's role, with a new key, on
a random card of the same dataset. A look-up is one prepared select of the same columns, by the hash
of the code.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from florin.bench.catalog import Kind
from florin.bench.environment import cpu_usage
from florin.bench.environment.cpu_usage import CpuUsage
from florin.bench.environment.dataset import Dataset, card_sql
from florin.bench.environment.servers import BenchServers
from florin.bench.load.wrk import run_generator
from florin.cards.card import COLUMNS, JOINS
from florin.kit.postgres.sql_release import PACKAGED
from florin.ops.postgres import server as postgres
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError

ACTOR = "pgbench"
USUAL_CLIENTS = 16
# The time-out of a request: 64 clients on one card exceed the ledger's usual lock time-out.
_PATIENCE_MS = 10_000
_HASHES_MAX = 1_000  # more of them in one statement would cost more than the look-up
_GRACE_S = 60
_FIGURES = {
    "count": re.compile(r"transactions actually processed: (\d+)"),
    "failed": re.compile(r"number of failed transactions: (\d+)"),
    "latency": re.compile(r"latency average = ([\d.]+) ms"),
    "rate": re.compile(r"tps = ([\d.]+)"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PgbenchRun:
    """One run of pgbench."""

    clients: int
    count: int
    rate: float
    latency_ms: float
    used: CpuUsage


def pgbench_program(bench: BenchServers) -> Path:
    """Return the pgbench of the server's installation. Raises OperatorError if it has none."""
    path = bench.server.program.with_name("pgbench")
    if not path.is_file():
        raise OperatorError(
            f"There is no pgbench next to {bench.server.program}; leave out --against."
        )
    return path


async def pgbench_run(
    bench: BenchServers, dataset: Dataset, kind: Kind, *, clients: int, seconds: float
) -> PgbenchRun:
    """Run pgbench for `seconds` with `clients` connections."""
    host, port = http_probe.split_address(bench.server.address)
    argv = [str(pgbench_program(bench)), "-n", "-M", "prepared", "-h", host, "-p", str(port)]
    argv += [
        "-U",
        postgres.APP,
        "-c",
        str(clients),
        "-j",
        str(min(cpu_usage.core_count(), clients)),
    ]
    argv += ["-T", str(max(1, round(seconds))), "-f", "-", dataset.database]
    before = bench.used()
    out = await run_generator(
        argv,
        {"PGPASSWORD": bench.secrets["APP_PASSWORD"]},
        within_s=seconds + _GRACE_S,
        account=bench.server.account,
        stdin=pgbench_script(dataset, kind).encode(),
    )
    figures = _read(out.decode(errors="replace"))
    if figures["failed"]:
        raise OperatorError(f"pgbench failed {figures['failed']:.0f} transactions.")
    return PgbenchRun(
        clients=clients,
        count=int(figures["count"]),
        rate=figures["rate"],
        latency_ms=figures["latency"],
        used=bench.used().since(before),
    )


def pgbench_script(dataset: Dataset, kind: Kind) -> str:
    return _look_up(dataset) if kind == "lookup" else _redeem(dataset)


def _redeem(dataset: Dataset) -> str:
    nothing = "'{null}'"
    arguments = (
        f"'{{{dataset.merchant}}}'",
        "'{redeem}'",
        "array[uuidv7()]",
        "array[uuidv7()]",
        "array[gen_random_uuid()::text]",
        rf"array['\x{bytes(32).hex()}'::bytea]",
        f"array[{card_sql(':n')}]",
        *(nothing, nothing, "'{1}'", "'{EUR}'", "'{f}'", "'{f}'", nothing),
        f"'{{{ACTOR}}}'",
        *(nothing, nothing, nothing, nothing),
        str(_PATIENCE_MS),
    )
    return (
        f"\\set n random(1, {dataset.cards})\n"
        f"select outcome from {PACKAGED.set_name}.post({', '.join(arguments)});\n"
    )


def _look_up(dataset: Dataset) -> str:
    """Return the look-up script; it picks a code from a constant array, without another table."""
    hashes = ",".join(rf'"\\x{hashed.hex()}"' for hashed in dataset.hashes[:_HASHES_MAX])
    columns = " ".join(f"{COLUMNS} from florin.account a {JOINS}".split())
    return (
        f"\\set n random(1, {min(dataset.cards, _HASHES_MAX)})\n"
        f"select {columns} where a.merchant = '{dataset.merchant}'"
        f" and a.code_hash = ('{{{hashes}}}'::bytea[])[:n::integer];\n"
    )


def _read(out: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, pattern in _FIGURES.items():
        match = pattern.search(out)
        if match is None:
            raise OperatorError(f"The output of pgbench has no {name}.")
        figures[name] = float(match[1])
    return figures
