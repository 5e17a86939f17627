"""Ledger check: the differences of a merchant's ledger; none when it balances."""

from uuid import UUID

from florin.bench.environment.servers import BenchServers
from florin.kit.postgres.database import Database
from florin.ops.postgres import server as postgres
from florin.ops.system.console import voice
from florin.reports.proof import prove_ledger


async def ledger_faults(bench: BenchServers, database: str, merchant: UUID) -> list[str]:
    """Prove the ledger as the application does; return its differences."""
    voice.status("Checking the ledger …")
    opened = Database(bench.url(postgres.APP, database), name="bench")
    await opened.open()
    try:
        proved = await prove_ledger(opened, merchant)
    finally:
        await opened.close()
    return [f"ledger: {d.check} {d.card or ''} {d.detail}" for d in proved.differences[:3]]
