"""Proof: check the balances of the ledger against its entries."""

from datetime import datetime
from importlib.resources import files
from typing import Literal
from uuid import UUID

import msgspec

from florin.kit.postgres.database import Database

_PROOF = (files("florin") / "reports" / "proof.sql").read_text("utf-8")


class Difference(msgspec.Struct, kw_only=True):
    """A difference that the proof found."""

    check: str
    card: str | None
    detail: str


class Proof(msgspec.Struct, kw_only=True):
    """The result of a proof: the counts, and every difference."""

    object: Literal["proof"] = "proof"
    balanced: bool
    cards: int
    entries: int
    open_holds: int
    differences: list[Difference]
    checked_at: datetime


async def prove_ledger(database: Database, merchant: UUID) -> Proof:
    """Check the ledger in one statement, which is one snapshot, on the primary."""
    row = await database.one(_PROOF, merchant)
    assert row is not None
    differences = msgspec.json.decode(row["differences"], type=list[Difference])
    return Proof(
        balanced=not differences,
        cards=row["cards"],
        entries=row["entries"],
        open_holds=row["open_holds"],
        differences=differences,
        checked_at=row["checked_at"],
    )
