"""Reports: run reports on connections of their own, so that they never use up those of payments.

The pool is small, its statements have a time limit, and each merchant has one report at a time: its
other reports wait. A proof is reused for some seconds; balances of an instant never change, so they
are cached.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from florin.kit.errors import Overloaded
from florin.kit.postgres.database import Database, Row, StatementTimeout
from florin.kit.replicas.routing import RoutedReader
from florin.reports import balances, proof
from florin.reports.balances import Balances, SettledInstant, settled_instant
from florin.reports.proof import Proof

REPORT_CONNECTIONS = 2  # counted in florin.ops.postgres.connection_budget
REPORT_WITHIN_S = 30.0  # for one statement
TURN_WITHIN_S = 10.0
PROOF_KEPT_S = 3.0
BALANCES_KEPT = 1_000  # cached answers, of all merchants
_SLOW = "the report takes longer than {:.0f} s; try again later"


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _KeptProof:
    answer: Proof
    begun: float
    finished: float


class ReportRunner:
    """The reports of an instance."""

    def __init__(self, url: str, *, name: str) -> None:
        self.database = Database(
            url,
            name=f"{name} reports",
            server="reports",
            settings={"statement_timeout": f"{REPORT_WITHIN_S * 1000:.0f}"},
            reads=True,
        )
        limits = self.database.limits
        limits.connections = REPORT_CONNECTIONS
        limits.timeout_s = min(limits.timeout_s, TURN_WITHIN_S)
        self._turns: dict[UUID, _Turn] = {}
        self._proofs: dict[UUID, _KeptProof] = {}
        self._balances: OrderedDict[tuple[UUID, str | None, datetime], Balances] = OrderedDict()

    async def open(self) -> None:
        await self.database.open()

    async def close(self) -> None:
        await self.database.close()

    async def proof(self, merchant: UUID, *, fresh: bool) -> Proof:
        """Prove the ledger, or return a recent proof; `fresh`: only one begun after this call."""
        requested_at = time.monotonic()
        async with self.turn(merchant):
            kept = self._proofs.get(merchant)
            if kept is not None and (
                kept.begun >= requested_at
                if fresh
                else kept.finished > time.monotonic() - PROOF_KEPT_S
            ):
                return kept.answer
            begun = time.monotonic()
            answer = await proof.prove_ledger(self.database, merchant)
            self._keep_proof(merchant, _KeptProof(answer, begun, time.monotonic()))
            return answer

    async def balances(
        self, reads: RoutedReader, merchant: UUID, *, as_of: datetime | None, currency: str | None
    ) -> Balances:
        """Read the balances; see florin.reports.balances."""
        if as_of is not None and (kept := self._balances.get((merchant, currency, as_of))):
            self._balances.move_to_end((merchant, currency, as_of))
            return kept
        async with self.turn(merchant):
            answer = await balances.read_balances(
                self.database,
                reads.over(self.database),
                merchant,
                as_of=as_of,
                currency=currency,
            )
        if as_of is not None:
            self._balances[merchant, currency, as_of] = answer
            while len(self._balances) > BALANCES_KEPT:
                self._balances.popitem(last=False)
        return answer

    async def rows(self, merchant: UUID, sql: str, *arguments: object) -> Sequence[Row]:
        """Run one statement of an export, in the merchant's turn. Raises Overloaded."""
        async with self.turn(merchant):
            return await self.database.all(sql, *arguments)

    async def settle(self, merchant: UUID, as_of: datetime | None, *, param: str) -> SettledInstant:
        """Wait until nothing can be added at `as_of` or before; see florin.reports.balances."""
        async with self.turn(merchant):
            return await settled_instant(self.database, merchant, as_of, param=param)

    def _keep_proof(self, merchant: UUID, made: _KeptProof) -> None:
        oldest = time.monotonic() - PROOF_KEPT_S
        for each in [each for each, kept in self._proofs.items() if kept.finished < oldest]:
            del self._proofs[each]
        self._proofs[merchant] = made

    @asynccontextmanager
    async def turn(self, merchant: UUID) -> AsyncGenerator[None]:
        """Wait until no other report of this merchant runs. Raises Overloaded."""
        turn = self._turns.setdefault(merchant, _Turn())
        turn.waiting += 1
        try:
            try:
                async with asyncio.timeout(TURN_WITHIN_S):
                    await turn.lock.acquire()
            except TimeoutError:
                raise Overloaded(
                    "other reports of this merchant are running; try again later"
                ) from None
            try:
                yield
            except StatementTimeout:
                raise Overloaded(_SLOW.format(REPORT_WITHIN_S)) from None
            finally:
                turn.lock.release()
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[merchant]
