"""Expiry: one worker expires due cards, compared with the fewest statements that do the same.

Both start with the same database, copied file by file. The bare SQL is one transaction: it writes
entries and accounts with all indexes and checks, but neither events nor an outbox.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from florin.bench.environment.servers import BenchServers
from florin.bench.workers import expired_dataset
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.measurement import cards_space_mb, count_faults, measure_worker
from florin.bench.workers.result import Figures
from florin.cards.jobs.expiry import QUEUE
from florin.kit.queue import admin as hand
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.ops.system.console import say, voice

_TEMPLATE = "florin_due"
_COPY = "florin_copy"
_LOOK_S = 0.02

_BARE = (
    """
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
  debit_sequence, debit_balance, actor, created_at)
select a.merchant, uuidv7(), 'expire', a.currency, a.balance, 'card', 'breakage', a.id,
  a.sequence + 1, 0, 'bare', now()
from florin.account a where a.merchant = $1 and a.state = 'active' and a.expires_at <= now()
""",
    """
update florin.account set state = 'expired', balance = 0, sequence = sequence + 1,
  revision = revision + 1
where merchant = $1 and state = 'active' and expires_at <= now()
""",
)
_WORK_LEFT = "select exists (select from florin.queue_job where queue = $1)"
_ENDED = """
select count(*) filter (where a.state = 'expired' and a.balance = 0) as accounts,
  (select count(*) from florin.transfer t where t.merchant = $1 and t.kind = 'expire') as entries,
  (select count(*) from florin.event e where e.merchant = $1 and e.type = 'card.expired') as events
from florin.account a where a.merchant = $1
"""


def space_mb(terms: WorkerBenchConfig) -> int:
    return cards_space_mb(terms.cards)


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    await bench.add_database(_TEMPLATE)
    merchant = await expired_dataset.make_expired_dataset(
        bench, cards=terms.cards, database=_TEMPLATE
    )
    rounds: list[Figures] = []
    wrong: list[str] = []
    admin = await bench.admin()
    try:
        for number in range(1, terms.rounds + 1):
            voice.status(f"Round {number} of {terms.rounds}: bare SQL …")
            await expired_dataset.copy_database(admin, of=_TEMPLATE, name=_COPY)
            bare_s = await _bare(bench, merchant)
            voice.status(f"Round {number} of {terms.rounds}: Florin …")
            await expired_dataset.copy_database(admin, of=_TEMPLATE, name=_COPY)
            figures = await _ours(bench, terms.cards)
            # Every card expired once, with one entry and one event.
            wrong += await count_faults(bench, _COPY, merchant, terms.cards, _ENDED)
            rounds.append(figures | {"sql_rate": terms.cards / bare_s})
            say(f"Round {number}: {figures['rate']:,.0f}/s; bare SQL {terms.cards / bare_s:,.0f}/s")
    finally:
        await admin.close()
    return rounds, wrong, {}


async def _bare(bench: BenchServers, merchant: UUID) -> float:
    admin = await bench.admin(_COPY)
    try:
        begun = time.monotonic()
        async with admin.transaction():
            for sql in _BARE:
                await admin.execute(sql, merchant)
        return time.monotonic() - begun
    finally:
        await admin.close()


async def _ours(bench: BenchServers, cards: int) -> Figures:
    """Measure from the moment in which the worker may begin to the end of the last job."""
    admin = await bench.admin(_COPY)
    await hand.pause_queue(admin, "bench", QUEUE, paused=True)
    await enqueue_now(admin, NewJob(queue=QUEUE, kind="sweep"))
    worker = await bench.start_worker("florin", "worker", database=_COPY)
    try:

        async def finished() -> bool:
            return not await admin.fetchval(_WORK_LEFT, QUEUE)

        async def begin() -> Callable[[], Awaitable[bool]]:
            await hand.pause_queue(admin, "bench", QUEUE, paused=False)
            return finished

        return await measure_worker(
            bench, worker, cards, begin, look_s=_LOOK_S, otherwise="The cards did not expire"
        )
    finally:
        await admin.close()
        await worker.stop()
