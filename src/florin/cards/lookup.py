"""Look-up: find a card by its code. Look-ups that wait at the same time share one query."""

from collections.abc import Sequence
from uuid import UUID

from florin.cards import codes
from florin.cards.card import COLUMNS, JOINS, Card, card_from_row
from florin.cards.code_guessing import CodeGuessLimiter
from florin.cards.codes import CodeMalformed
from florin.cards.imported_codes import ImportedCodes
from florin.cards.request_context import RequestContext
from florin.kit.batcher import Batcher
from florin.kit.postgres.database import Database, Row
from florin.ledger.refusals import CardNotFound

# LATERAL … LIMIT 1 keeps each look-up an index probe, regardless of the statistics.
SQL = f"""
select w.n, r.* from unnest($1::uuid[], $2::bytea[]) with ordinality as w (merchant, hash, n)
cross join lateral (
  select {COLUMNS} from florin.account a {JOINS}
  where a.merchant = w.merchant and a.code_hash = w.hash limit 1
) r
"""  # noqa: S608 -- our own text

_Key = tuple[UUID, bytes]


class CardLookup:
    """Finds cards by code."""

    def __init__(
        self,
        database: Database,
        peppers: Sequence[str],
        guesses: CodeGuessLimiter,
        imported: ImportedCodes,
    ) -> None:
        self._database = database
        self._imported = imported
        self._peppers = [pepper.encode() for pepper in peppers]
        self._guesses = guesses
        self._waiting: Batcher[_Key, Row] = Batcher(self._find)

    async def look_up(self, context: RequestContext, typed: str) -> Card:
        """Find a card by a typed code. Raises CodeMalformed, CardNotFound; RateLimited after too
        many wrong codes.
        """

        async def attempt() -> Card:
            return await self._find_by(context.merchant, typed)

        return await self._guesses.watch(context, typed, attempt)

    async def _find_by(self, merchant: UUID, typed: str) -> Card:
        code = await self._read(merchant, typed)
        *before, last = self._peppers
        for pepper in before:  # more than one only while the secret is changed
            try:
                return await self._one(merchant, codes.code_hash(pepper, merchant, code))
            except CardNotFound:
                continue
        return await self._one(merchant, codes.code_hash(last, merchant, code))

    async def _read(self, merchant: UUID, typed: str) -> str:
        try:
            return codes.read_code(typed)
        except CodeMalformed:
            if not await self._imported.accepts(merchant):
                raise
        return codes.read_any_code(typed, imported=True)

    async def _one(self, merchant: UUID, hashed: bytes) -> Card:
        return card_from_row(await self._waiting.submit((merchant, hashed)))

    async def _find(self, keys: list[_Key]) -> list[Row | BaseException]:
        rows = await self._database.all(
            SQL, [merchant for merchant, _ in keys], [hashed for _, hashed in keys]
        )
        answers: list[Row | BaseException] = [CardNotFound() for _ in keys]
        for row in rows:
            answers[row["n"] - 1] = row
        return answers
