"""Imported codes: whether a merchant has cards with codes of other systems.

Only then is a text without Florin's check symbol looked up. A program that accepts such codes
accepts them for ever, so a yes is kept; a no is asked again after a few seconds.
"""

import time
from uuid import UUID

from florin.kit.postgres.database import Database

_ASK_EVERY_S = 5.0
_KEPT = 20_000
_ACCEPTS = (
    "select exists (select from florin.program where merchant = $1 and imported_codes) as accepts"
)


class ImportedCodes:
    """Answers for the merchants that this instance serves."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._until: dict[UUID, float] = {}  # of a no; infinite for a yes

    async def accepts(self, merchant: UUID) -> bool:
        known = self._until.get(merchant)
        if known is not None and time.monotonic() < known:
            return known == float("inf")
        row = await self._database.one(_ACCEPTS, merchant)
        accepts = row is not None and bool(row["accepts"])
        if len(self._until) >= _KEPT:
            self._until.clear()
        self._until[merchant] = float("inf") if accepts else time.monotonic() + _ASK_EVERY_S
        return accepts
