"""Ledger check: compare the totals of the ledger with its entries, again and again.

One instance of the fleet at a time does it, on a connection of its own, and stores the result for
all of them. It reads both tables, so it pauses for a multiple of its duration: at most one part in
twenty of one connection's time is spent on it, however large the ledger is. It finds money that
appeared or vanished; the proof of a merchant (`proof.py`) also finds what was moved between cards.
"""

import asyncio
import contextlib
from importlib.resources import files
from typing import Any

import asyncpg
import msgspec

from florin.kit.observability import database_metrics as metrics
from florin.kit.observability import logging
from florin.kit.postgres.database import BROKEN, Connection, Database, PoolTimeout, open_connection

EVERY_S = 10.0  # at most
PAUSE_FACTOR = 20
WITHIN_S = 900.0
_LOOK_EVERY_S = 2.0

_TOTALS = (files("florin") / "reports" / "ledger_totals.sql").read_text("utf-8")
# An instance that dies in the meantime is replaced after the time that a comparison may take.
_CLAIM = """
update florin.ledger_check set due_at = clock_timestamp() + make_interval(secs => $1)
where due_at <= clock_timestamp() returning true
"""
# With the time of the first comparison without a difference after the last one with a difference.
_STORE = """
update florin.ledger_check set checked_at = clock_timestamp(), seconds = $1,
  totals = $2::text::jsonb || jsonb_build_object('balanced_since',
    case when ($2::text::jsonb ->> 'unbalanced')::bigint = 0 then
      coalesce((totals ->> 'balanced_since')::float8, extract(epoch from clock_timestamp()))
    end),
  due_at = clock_timestamp() + make_interval(secs => $3)
"""
_LOAD = """
select extract(epoch from checked_at)::float8 as checked_at, seconds, totals::text as totals
from florin.ledger_check
"""
_log = logging.get_logger()


class LedgerTotals(msgspec.Struct, kw_only=True):
    """The result of a comparison. `moved` has kind, currency, number of entries and amount.

    `balanced_since` is Unix time; None if it does not balance, and before it is stored.
    """

    unbalanced: int
    differences: dict[str, int]
    liability: dict[str, int]
    moved: list[tuple[str, str, int, int]]
    balanced_since: float | None = None


class LedgerCheck:
    """Compares in the background when it is this instance's turn, and reports the last result."""

    def __init__(self, database: Database, reports: Database, *, name: str) -> None:
        self._database = database
        self._reports = reports
        self._name = f"{name} ledger check"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._check_forever())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> None:
        """Set the metrics from the last result; they keep their values without a database."""
        try:
            async with self._reports.connection() as connection:
                row = await connection.fetchrow(_LOAD)
        except (*BROKEN, PoolTimeout, asyncpg.PostgresError):
            return
        if row is not None and row["totals"] is not None:
            set_metrics(row, msgspec.json.decode(row["totals"], type=LedgerTotals))

    async def _check_forever(self) -> None:
        while True:
            try:
                if await self.is_due():
                    await self._check()
            except (*BROKEN, PoolTimeout, asyncpg.PostgresError) as error:
                # It stays unchecked, for which there is an alert.
                _log.warning("the totals of the ledger were not compared", error=repr(error))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def is_due(self) -> bool:
        async with self._database.connection() as connection:
            return await connection.fetchval(_CLAIM, WITHIN_S) is not None

    async def _check(self) -> None:
        connection = await open_connection(self._database.limits.dsn, name=self._name)
        try:
            totals = await compare_totals(connection)
        finally:
            connection.terminate()
        if totals.unbalanced:
            _log.error(
                "the ledger does not balance",
                merchants_and_currencies=totals.unbalanced,
                differences={name: n for name, n in totals.differences.items() if n},
            )


async def compare_totals(connection: Connection) -> LedgerTotals:
    """Compare once and store the result. Raises asyncpg.PostgresError."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await connection.execute(f"set statement_timeout = {WITHIN_S * 1000:.0f}")
    text: str = await connection.fetchval(_TOTALS)
    seconds = loop.time() - begun
    await connection.execute(_STORE, seconds, text, max(EVERY_S, PAUSE_FACTOR * seconds))
    return msgspec.json.decode(text, type=LedgerTotals)


def set_metrics(row: Any, totals: LedgerTotals) -> None:
    """Set the metrics from a stored result."""
    metrics.ledger_checked.set(row["checked_at"])
    metrics.ledger_check_seconds.set(row["seconds"])
    metrics.ledger_unbalanced.set(totals.unbalanced)
    metrics.ledger_balanced_since.set(totals.balanced_since or 0)
    for currency, amount in totals.differences.items():
        metrics.ledger_difference.labels(currency).set(amount)
    for currency, amount in totals.liability.items():
        metrics.ledger_liability.labels(currency).set(amount)
    metrics.ledger_entries.set_all({(kind, each): n for kind, each, n, _ in totals.moved})
    metrics.ledger_moved.set_all({(kind, each): total for kind, each, _, total in totals.moved})
