"""Expiry: expire cards whose date has passed and release expired holds, a batch at a time.

A card past its expiry date reads as expired and cannot be spent from that instant on; the entry
that moves its balance to breakage follows later. Each job is for one merchant. When a job is
interrupted, the next one continues with what is still due.
"""

import time
from typing import Any
from uuid import UUID

from florin.cards.jobs.throttle import JobThrottle
from florin.kit import ids
from florin.kit.postgres.database import Database, Tx
from florin.kit.queue.enqueue import NewJob, enqueue_now
from florin.kit.queue.job import Continue, QueuedJob
from florin.ledger.post import Posting, post_in

ACTOR = "florin"
HOLDS = 200  # cards with holds in one transaction
MERCHANTS = 1000
SLICE_S = 5.0  # then another merchant's job may run

QUEUE = "gift-card-expiry"
_BEFORE_ALL = UUID(int=0)


async def find_due_merchants(job: QueuedJob) -> Continue | None:
    """Enqueue a job for each merchant with cards or holds that are due."""
    after = _BEFORE_ALL
    while True:
        async with job.effect() as tx:
            rows = await tx.all("select id from merchants_due($1, $2) as id", after, MERCHANTS)
            due: list[UUID] = [row["id"] for row in rows]
            if due:
                await enqueue_now(
                    tx,
                    *(
                        NewJob(
                            queue=QUEUE,
                            kind="expire",
                            payload={"merchant": str(each)},
                            dedupe=f"expire:{each}",
                        )
                        for each in due
                    ),
                )
        if len(due) < MERCHANTS:
            return None
        after = due[-1]


async def expire_merchant(job: QueuedJob, database: Database) -> Continue | None:
    """Expire the due cards and holds of a merchant for up to SLICE_S seconds."""
    merchant = UUID(job.payload["merchant"])
    pace, until = JobThrottle(database, job.queue), time.monotonic() + SLICE_S
    while time.monotonic() < until and not job.stopping:
        started = time.monotonic()
        async with job.effect() as tx:
            processed = await expire_some(tx, merchant, pace.size)
            if processed:
                await job.step(tx)
        if not processed:
            return None
        await pace.rest_after(time.monotonic() - started)
    return Continue()


async def expire_returned_money(job: QueuedJob) -> Continue | None:
    """Move to breakage what a refund or the rest of a hold returned to an expired card.

    A card that was reinstated in the meantime is left unchanged. One that is reinstated later gets
    this money back, too.
    """
    merchant, card = UUID(job.payload["merchant"]), UUID(job.payload["card"])
    async with job.effect() as tx:
        outcomes = await post_in(
            tx, [Posting(merchant=merchant, op="expire", actor=ACTOR, card=card)]
        )
    return Continue(delay_s=1) if "busy" in outcomes else None


async def expire_some(tx: Tx, merchant: UUID, most: int) -> int:
    """Expire up to `most` cards; return how many were processed, 0 when nothing is due."""
    row: Any = await tx.one(
        "select * from expire_due($1, $2, $3)",
        merchant,
        [ids.new_id() for _ in range(most)],
        ACTOR,
    )
    held: list[UUID] = [*row["with_holds"]]
    if len(held) < HOLDS:
        rows = await tx.all(
            "select id from cards_with_holds_due($1, $2) as id", merchant, HOLDS - len(held)
        )
        held += [each["id"] for each in rows if each["id"] not in held]
    if held:
        # `post` releases expired holds first; a card that is not due itself is left unchanged.
        await post_in(
            tx, [Posting(merchant=merchant, op="expire", actor=ACTOR, card=card) for card in held]
        )
    return int(row["expired"]) + len(held)
