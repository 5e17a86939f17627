"""Judged: whether the books of a shop balance, in words: nothing when they do."""

from uuid import UUID

from florin.bench.topology import Bench
from florin.kit.db import Database
from florin.ops.engines import postgres
from florin.ops.tell import voice
from florin.reports.books import proof


async def wrongs(bench: Bench, database: str, merchant: UUID) -> list[str]:
    """Prove the books as the application does."""
    voice.status("Judging the books …")
    opened = Database(bench.url(postgres.APP, database), name="bench")
    await opened.open()
    try:
        proved = await proof(opened, merchant)
    finally:
        await opened.close()
    return [f"the books: {d.check} {d.card or ''} {d.detail}" for d in proved.differences[:3]]
