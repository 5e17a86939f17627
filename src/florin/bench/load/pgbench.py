"""Pgbench: the same work on the same server without us: one call, one transaction.

A redemption there is one call of the ledger's function by the role of the application, under a
key of its own, of a random card of the same shop. A balance is one prepared select of the look-up's
columns, by the hash of the code.
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
from florin.ops.postgres import server as postgres
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError

ACTOR = "pgbench"
USUAL_CLIENTS = 16
# As long as a request waits: at 64 clients on one card the ledger's usual patience runs out.
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
    """Raises OperatorError where the server came without it."""
    path = bench.server.program.with_name("pgbench")
    if not path.is_file():
        raise OperatorError(
            f"There is no pgbench beside {bench.server.program}; leave out --against."
        )
    return path


async def pgbench_run(
    bench: BenchServers, shop: Dataset, kind: Kind, *, clients: int, seconds: float
) -> PgbenchRun:
    """Run it for that long with that many connections."""
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
    argv += ["-T", str(max(1, round(seconds))), "-f", "-", shop.database]
    before = bench.used()
    out = await run_generator(
        argv,
        {"PGPASSWORD": bench.secrets["APP_PASSWORD"]},
        within_s=seconds + _GRACE_S,
        account=bench.server.account,
        stdin=pgbench_script(shop, kind).encode(),
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


def pgbench_script(shop: Dataset, kind: Kind) -> str:
    return _look_up(shop) if kind == "lookup" else _redeem(shop)


def _redeem(shop: Dataset) -> str:
    nothing = "'{null}'"
    arguments = (
        f"'{{{shop.merchant}}}'",
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
        f"\\set n random(1, {shop.cards})\n"
        f"select outcome from florin.post({', '.join(arguments)});\n"
    )


def _look_up(shop: Dataset) -> str:
    """A random one of a constant array: no second table is read to choose it."""
    hashes = ",".join(rf'"\\x{hashed.hex()}"' for hashed in shop.hashes[:_HASHES_MAX])
    columns = " ".join(f"{COLUMNS} from florin.account a {JOINS}".split())
    return (
        f"\\set n random(1, {min(shop.cards, _HASHES_MAX)})\n"
        f"select {columns} where a.merchant = '{shop.merchant}'"
        f" and a.code_hash = ('{{{hashes}}}'::bytea[])[:n::integer];\n"
    )


def _read(out: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, pattern in _FIGURES.items():
        found = pattern.search(out)
        if found is None:
            raise OperatorError(f"pgbench said nothing of its {name}.")
        figures[name] = float(found[1])
    return figures
