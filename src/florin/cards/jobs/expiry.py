"""Expiry: end cards whose time is over, free holds that ran out; a batch at a time.

A card past its end reads as expired and spends nothing from that instant on; the entry that moves
its balance to breakage follows. A job is a merchant's; killed anywhere, the next one goes on with
what is still due: what is done is no longer found.
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
HOLDS = 200  # cards with holds in a transaction
MERCHANTS = 1000
SLICE_S = 5.0  # after which another merchant has its turn

QUEUE = "gift-card-expiry"
_NOBODY = UUID(int=0)


async def find_due_merchants(job: QueuedJob) -> Continue | None:
    """Find the merchants that have something due; give each a job."""
    after = _NOBODY
    while True:
        async with job.effect() as tx:
            rows = await tx.all(
                "select id from florin.merchants_due($1, $2) as id", after, MERCHANTS
            )
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
    """Expire what is due at a merchant."""
    merchant = UUID(job.payload["merchant"])
    pace, until = JobThrottle(database, job.queue), time.monotonic() + SLICE_S
    while time.monotonic() < until and not job.stopping:
        started = time.monotonic()
        async with job.effect() as tx:
            found = await expire_some(tx, merchant, pace.size)
            if found:
                await job.step(tx)
        if not found:
            return None
        await pace.rest_after(time.monotonic() - started)
    return Continue()


async def expire_returned_money(job: QueuedJob) -> Continue | None:
    """End a card once more, to which a refund or the rest of a hold came back after its end.

    Reinstated meanwhile, it stays as it is; reinstated later, it gets this back, too.
    """
    merchant, card = UUID(job.payload["merchant"]), UUID(job.payload["card"])
    async with job.effect() as tx:
        outcomes = await post_in(
            tx, [Posting(merchant=merchant, op="expire", actor=ACTOR, card=card)]
        )
    return Continue(delay_s=1) if "busy" in outcomes else None


async def expire_some(tx: Tx, merchant: UUID, most: int) -> int:
    """Expire some cards; return how many were looked after, 0 when nothing is due."""
    row: Any = await tx.one(
        "select * from florin.expire_due($1, $2, $3)",
        merchant,
        [ids.new_id() for _ in range(most)],
        ACTOR,
    )
    held: list[UUID] = [*row["with_holds"]]
    if len(held) < HOLDS:
        rows = await tx.all(
            "select id from florin.cards_with_holds_due($1, $2) as id", merchant, HOLDS - len(held)
        )
        held += [each["id"] for each in rows if each["id"] not in held]
    if held:
        # `post` frees what ran out before it decides; a card that is not due then stays as it is.
        await post_in(
            tx, [Posting(merchant=merchant, op="expire", actor=ACTOR, card=card) for card in held]
        )
    return int(row["expired"]) + len(held)
