"""Ledger: check after a benchmark that the recorded redemptions are the answered ones."""

from dataclasses import dataclass

from florin.bench.environment.dataset import Dataset
from florin.bench.environment.servers import BenchServers
from florin.bench.load import pgbench
from florin.kit.postgres.database import Database
from florin.ops.postgres import server as postgres
from florin.ops.system.console import voice
from florin.reports.proof import prove_ledger

_SQL = """
select count(*) filter (where actor like 'key_%') as http,
  count(*) filter (where actor = $2) as pgbench
from florin.transfer where merchant = $1 and kind = 'redeem'
"""


@dataclass(slots=True, kw_only=True)
class AnsweredCounts:
    """The redemptions that the clients saw succeed, and those of unknown outcome."""

    http: int = 0
    in_flight: int = 0  # sent, and unanswered when the generator closed its connections
    pgbench: int = 0

    def add(self, count: int, *, in_flight: int) -> None:
        self.http += count
        self.in_flight += in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """The ledger of one dataset compared with the answers."""

    balanced: bool
    differences: tuple[str, ...]
    answered: int
    recorded: int
    in_flight: int
    pgbench_answered: int
    pgbench_recorded: int
    cards: int
    entries: int

    @property
    def right(self) -> bool:
        return (
            self.balanced
            and self.answered <= self.recorded <= self.answered + self.in_flight
            and self.pgbench_answered == self.pgbench_recorded
        )


async def check_ledger(
    bench: BenchServers, dataset: Dataset, answered: AnsweredCounts
) -> LedgerCheck:
    """Prove the ledger and count its redemptions, cards and entries."""
    voice.status("Checking the ledger …")
    opened = Database(bench.url(postgres.APP, dataset.database), name="bench")
    await opened.open()
    try:
        proof = await prove_ledger(opened, dataset.merchant)
        row = await opened.one(_SQL, dataset.merchant, pgbench.ACTOR)
        assert row is not None
    finally:
        await opened.close()
    return LedgerCheck(
        balanced=proof.balanced,
        differences=tuple(f"{d.check}: {d.card or ''} {d.detail}" for d in proof.differences[:3]),
        answered=answered.http,
        recorded=row["http"],
        in_flight=answered.in_flight,
        pgbench_answered=answered.pgbench,
        pgbench_recorded=row["pgbench"],
        cards=proof.cards,
        entries=proof.entries,
    )
