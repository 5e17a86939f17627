"""Effects of the jobs that erase, delete and prune; see job_effects.py."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from florin.kit import ids
from florin.kit.queue.enqueue import NewJob
from tests.ledger.calls import issue, make_merchant, make_program

Check = Callable[[], Awaitable[None]]
CARDS = 5  # of a job: more than one transaction with the chunk size of test_job_types.py


async def cleanup(owner: Any) -> tuple[NewJob, Check]:
    insert = "insert into florin.failed_attempt values ($1, 5, 1, now() - $2::interval)"
    kept, gone = ids.new_id().bytes, ids.new_id().bytes
    await owner.execute(insert, kept, timedelta(0))
    await owner.execute(insert, gone, timedelta(days=2))

    async def check() -> None:
        rows = await owner.fetch(
            "select subject from florin.failed_attempt where subject = any($1)", [kept, gone]
        )
        assert [row["subject"] for row in rows] == [kept]

    return NewJob(queue="cleanup-tokens", kind="cleanup"), check


async def erase_codes(owner: Any) -> tuple[NewJob, Check]:
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)
    made = [ids.new_id() for _ in range(CARDS)]
    await issue(owner, merchant, program, made, [100] * CARDS, activate=[True] * CARDS)
    await owner.execute(
        "update florin.card set sealed_until = now() - interval '1 s' where id = any($1)",
        made[1:],
    )

    async def check() -> None:
        rows = await owner.fetch(
            "select id from florin.card where merchant = $1 and sealed_code is not null", merchant
        )
        assert [row["id"] for row in rows] == made[:1]

    return NewJob(queue="retention", kind="codes"), check


async def erase_sheets(owner: Any) -> tuple[NewJob, Check]:
    merchant = await make_merchant(owner)
    old, young = ids.new_id(), ids.new_id()
    await owner.execute(
        "insert into florin.job_part (merchant, job, part_number, sealed, created_at)"
        " select $1, j, 0, 'x', now() - interval '25 hours' from unnest($2::uuid[]) j",
        *(merchant, [young, ids.new_id()]),
    )
    for job, days in ((old, 31), (young, 29)):
        await owner.execute(
            "insert into florin.job (merchant, id, kind, total, done, state, actor, finished_at)"
            " values ($1, $2, 'bulk', 1, 1, 'finished', 'tests', now() - $3::interval)",
            *(merchant, job, timedelta(days=days)),
        )
        await owner.execute(
            "insert into florin.job_code_export (merchant, job, part_number, sealed)"
            " values ($1, $2, 0, 'x')",
            *(merchant, job),
        )

    async def check() -> None:
        rows = await owner.fetch(
            "select j.id, j.codes,"
            " (select count(*) from florin.job_code_export s where s.job = j.id) n"
            " from florin.job j where merchant = $1",
            merchant,
        )
        found = {row["id"]: (row["codes"], row["n"]) for row in rows}
        assert found == {old: ("expired", 0), young: ("waiting", 1)}
        parts = await owner.fetch("select job from florin.job_part where merchant = $1", merchant)
        assert [part["job"] for part in parts] == [young], "a file that never arrived, or did"

    return NewJob(queue="retention", kind="sheets"), check


async def forget_keys(owner: Any) -> tuple[NewJob, Check]:
    merchant = await make_merchant(owner)
    insert = (
        "insert into florin.idempotency"
        " (merchant, key, operation, fingerprint, resource_id, created_at)"
        " values ($1, $2, 'redeem', 'x', gen_random_uuid(), now() - $3::interval)"
    )
    await owner.execute(insert, merchant, "old", timedelta(days=400))
    await owner.execute(insert, merchant, "young", timedelta(days=1))

    async def check() -> None:
        rows = await owner.fetch("select key from florin.idempotency where merchant = $1", merchant)
        assert [row["key"] for row in rows] == ["young"]

    return NewJob(queue="retention", kind="keys"), check


async def prune(owner: Any) -> tuple[NewJob, Check]:
    totals = "select sum(arrived), sum(completed) from florin.queue_flow where queue = 'old'"
    await owner.execute(
        "insert into florin.queue_flow (queue, slot, shard, arrived, completed) values"
        " ('old', now() - interval '2 hours', 0, 7, 5),"
        " ('old', now() - interval '3 hours', 1, 1, 1), ('old', '-infinity', 0, 3, 2)"
        " on conflict (queue, slot, shard) do nothing"  # pruned before: the total so far
    )
    before = tuple(await owner.fetchrow(totals))

    async def check() -> None:
        assert tuple(await owner.fetchrow(totals)) == before
        slots = await owner.fetchval(
            "select count(*) from florin.queue_flow where queue = 'old' and slot > '-infinity'"
        )
        assert slots == 0

    return NewJob(queue="retention", kind="queue"), check


async def seal_audit(owner: Any) -> tuple[NewJob, Check]:
    merchant, records = await make_merchant(owner), [ids.new_id() for _ in range(CARDS)]
    await owner.execute(
        "insert into florin.audit (merchant, id, actor, action, subject)"
        " select $1, r, 'tests', 'tests.done', 'tests' from unnest($2::uuid[]) r",
        *(merchant, records),
    )

    async def check() -> None:
        rows = await owner.fetch(
            "select record from florin.audit_seal where merchant = $1", merchant
        )
        assert sorted(row["record"] for row in rows) == sorted(records), "each once"

    return NewJob(queue="retention", kind="seal"), check


KEPT = {
    ("cleanup-tokens", "cleanup"): cleanup,
    ("retention", "codes"): erase_codes,
    ("retention", "sheets"): erase_sheets,
    ("retention", "keys"): forget_keys,
    ("retention", "queue"): prune,
    ("retention", "seal"): seal_audit,
}
