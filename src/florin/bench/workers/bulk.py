"""Bulk: one worker makes the cards of a job, compared with COPY of the same rows.

The server writes the rows of all four tables to binary files and copies them into a database that
is as empty as the first one was, in one transaction, with all indexes and checks.
"""

import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchServers
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.measurement import cards_space_mb, count_faults, measure_worker
from florin.bench.workers.result import Figures
from florin.cards.jobs import bulk_issue
from florin.cards.transactions.operations import RequestContext
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.ops.postgres import server as postgres
from florin.ops.system import os_user
from florin.ops.system.console import OperatorError, say, voice

AMOUNT = 2_500
_TABLES = ("account", "card", "transfer", "event")  # in the order of their foreign keys
_MADE, _COPIED = "florin_made", "florin_copied"
_LOOK_S = 0.05
_FINISHED = "select state = 'finished' from florin.job where merchant = $1 and id = $2"
_COUNTS = """
select count(*) as accounts, count(distinct code_hash) as codes, sum(balance) / $2 as amounts,
  (select count(*) from florin.card c where c.merchant = $1) as cards,
  (select count(*) from florin.transfer t where t.merchant = $1) as entries,
  (select count(*) from florin.event e where e.merchant = $1 and e.type = 'card.issued') as events,
  (select sum(done) from florin.job j where j.merchant = $1) as done
from florin.account where merchant = $1
"""


def space_mb(terms: WorkerBenchConfig) -> int:
    return cards_space_mb(terms.cards)


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    if terms.cards > bulk_issue.MOST:
        raise OperatorError(
            f"A job makes at most {bulk_issue.MOST:,} cards; --cards is for one job."
        )
    rounds: list[Figures] = []
    wrong: list[str] = []
    admin = await bench.admin()
    try:
        for number in range(1, terms.rounds + 1):
            voice.status(f"Round {number} of {terms.rounds}: Florin …")
            await _anew(bench, admin, _MADE)
            dataset = await make_dataset(bench, cards=1, database=_MADE, issue=False)
            figures = await _ours(bench, dataset, terms.cards)
            # Every card was made, with its own code, amount, entry and event.
            wrong += await count_faults(
                bench, _MADE, dataset.merchant, terms.cards, _COUNTS, AMOUNT
            )
            voice.status(f"Round {number} of {terms.rounds}: COPY …")
            copy_s = await _copied(bench, admin)
            rounds.append(figures | {"copy_rate": terms.cards / copy_s})
            say(f"Round {number}: {figures['rate']:,.0f}/s; COPY {terms.cards / copy_s:,.0f}/s")
    finally:
        await admin.close()
    return rounds, wrong, {}


async def _anew(bench: BenchServers, admin: Any, name: str) -> None:
    await admin.execute(f"drop database if exists {name}")
    await bench.add_database(name)
    await admin.execute("checkpoint")


async def request_job(bench: BenchServers, dataset: Dataset, cards: int) -> UUID:
    """Enqueue a job, as `POST /cards/bulk` does; return its id."""
    opened = Database(bench.url(postgres.APP, dataset.database), name="bench")
    await opened.open()
    try:
        asked = RequestContext(merchant=dataset.merchant, actor="bench", key="bulk")
        program = ids.show_id("prg", dataset.program)
        want = bulk_issue.BulkRequest(program=program, amount=AMOUNT, quantity=cards)
        job, _ = await bulk_issue.start_bulk_issue(opened, asked, want)
    finally:
        await opened.close()
    return UUID(job.id.removeprefix("job_"))


async def _ours(bench: BenchServers, dataset: Dataset, cards: int) -> Figures:
    """Measure from the request to the finished job; the worker already runs."""
    worker = await bench.start_worker("florin", "worker", database=_MADE)
    admin = await bench.admin(_MADE)
    try:

        async def begin() -> Callable[[], Awaitable[bool]]:
            job = await request_job(bench, dataset, cards)

            async def finished() -> bool:
                return bool(await admin.fetchval(_FINISHED, dataset.merchant, job))

            return finished

        return await measure_worker(
            bench, worker, cards, begin, look_s=_LOOK_S, otherwise="The cards were not made"
        )
    finally:
        await admin.close()
        await worker.stop()


async def _copied(bench: BenchServers, admin: Any) -> float:
    """Return the seconds of COPY."""
    folder = os_user.make_private_dir(bench.server.data.parent / "rows", bench.server.account)
    try:
        made = await bench.admin(_MADE)
        try:
            for table in _TABLES:
                where = _file(folder, table)
                await made.execute(f"copy florin.{table} to '{where}' (format binary)")
        finally:
            await made.close()
        await _anew(bench, admin, _COPIED)
        copied = await bench.admin(_COPIED)
        try:
            begun = time.monotonic()
            async with copied.transaction():
                for table in _TABLES:
                    where = _file(folder, table)
                    await copied.execute(f"copy florin.{table} from '{where}' (format binary)")
            return time.monotonic() - begun
        finally:
            await copied.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, table: str) -> Path:
    return folder / f"{table}.copy"
