"""Ledger check: whether the books of a shop balance, in words: nothing when they do."""

from uuid import UUID

from florin.bench.environment.servers import BenchServers
from florin.kit.postgres.database import Database
from florin.ops.postgres import server as postgres
from florin.ops.system.console import voice
from florin.reports.proof import prove_ledger


async def ledger_faults(bench: BenchServers, database: str, merchant: UUID) -> list[str]:
    """Prove the books as the application does."""
    voice.status("Judging the books …")
    opened = Database(bench.url(postgres.APP, database), name="bench")
    await opened.open()
    try:
        proved = await prove_ledger(opened, merchant)
    finally:
        await opened.close()
    return [f"the books: {d.check} {d.card or ''} {d.detail}" for d in proved.differences[:3]]
