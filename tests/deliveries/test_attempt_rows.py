"""Attempt rows: attempts share transactions; each has the guards that it would have alone."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import asyncpg
import pytest

from florin.deliveries.attempts.rows import AttemptRows, DeliveryKey, Ended
from florin.deliveries.attempts.sending import DeliverySender
from florin.kit.postgres.database import Database
from florin.kit.queue.job import Continue, LeaseLost, QueuedJob
from tests.deliveries.conftest import PUBLIC_URL
from tests.deliveries.test_sending import SEALER, gift, make_card, state_of

_JOB = """
insert into florin.queue_job (queue, kind, state, fence, lease_until, payload)
values ('email-delivery', 'send', 1, nextval('florin.queue_fence'), now() + interval '1 hour', '{}')
returning *, null as log_position, 0.0::float8 as waited_s
"""
_TAKE_OVER = "update florin.queue_job set fence = nextval('florin.queue_fence') where id = $1"
# The first update of deliveries after this fails as the victim of a deadlock does: a sequence
# counts although its transaction is undone.
UNDO_ONE = """
create sequence florin.undone;
create function florin.undo_one() returns trigger language plpgsql security definer as $$
begin
  if nextval('florin.undone') = 1 then
    raise exception 'deadlock detected' using errcode = '40P01';
  end if;
  return new;
end $$;
create trigger undo_one before update on florin.delivery
  for each row execute function florin.undo_one();
"""
DROP = """
drop trigger undo_one on florin.delivery; drop function florin.undo_one; drop sequence florin.undone
"""
SENT = Ended("sent")
Attempt = tuple[QueuedJob, DeliveryKey]


@pytest.fixture(autouse=True)
async def no_other_jobs(owner: Any) -> AsyncGenerator[None]:
    yield
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")


async def make_attempts(owner: Any, database: Database, count: int) -> list[Attempt]:
    merchant, card = await make_card(owner)
    attempts: list[Attempt] = []
    for number in range(count):
        delivery, _ = await gift(database, merchant, card, f"{number}@home.example")
        row = await owner.fetchrow(_JOB)
        job = QueuedJob(row, database, lease=timedelta(hours=1))
        attempts.append((job, DeliveryKey(merchant, delivery, 1)))
    return attempts


async def claim_all(rows: AttemptRows, attempts: Sequence[Attempt]) -> list[Any]:
    claims = (rows.claim(job, key) for job, key in attempts)
    return await asyncio.gather(*claims, return_exceptions=True)


async def record_all(rows: AttemptRows, attempts: Sequence[Attempt], ended: Ended) -> list[Any]:
    records = (rows.record(job, key, "gift", ended) for job, key in attempts)
    return await asyncio.gather(*records, return_exceptions=True)


async def states(owner: Any, attempts: Sequence[Attempt]) -> list[str]:
    return [(await state_of(owner, key.id))["state"] for _, key in attempts]


async def transactions(owner: Any, attempts: Sequence[Attempt]) -> int:
    """How many wrote the rows."""
    ids = [key.id for _, key in attempts]
    return await owner.fetchval(
        "select count(distinct xmin::text) from florin.delivery where id = any ($1)", ids
    )


async def test_attempts_of_the_same_time_share_two_transactions(
    owner: Any, database: Database
) -> None:
    attempts = await make_attempts(owner, database, 10)
    rows = AttemptRows()
    claimed = await claim_all(rows, attempts)
    assert [each.row["id"] for each in claimed] == [key.id for _, key in attempts]
    assert [each.row["address"] for each in claimed] == [f"{n}@home.example" for n in range(10)]
    assert {each.facts.balance for each in claimed} == {5000}
    assert await states(owner, attempts) == ["sending"] * 10
    assert await transactions(owner, attempts) == 1
    assert await record_all(rows, attempts, SENT) == [None] * 10
    assert await states(owner, attempts) == ["sent"] * 10
    assert await transactions(owner, attempts) == 1
    assert all(job.finished for job, _ in attempts)
    assert await owner.fetchval("select count(*) from florin.queue_job") == 0
    (late,) = await claim_all(rows, attempts[:1])
    assert isinstance(late, LeaseLost)


async def test_a_job_that_lost_its_lease_writes_nothing(owner: Any, database: Database) -> None:
    attempts = await make_attempts(owner, database, 3)
    rows = AttemptRows()
    await owner.execute(_TAKE_OVER, attempts[1][0].id)
    first, lost, last = await claim_all(rows, attempts)
    assert isinstance(lost, LeaseLost)
    assert {first.row["id"], last.row["id"]} == {attempts[0][1].id, attempts[2][1].id}
    assert await states(owner, attempts) == ["sending", "due", "sending"]
    await owner.execute(_TAKE_OVER, attempts[2][0].id)
    sent, _, lost = await record_all(rows, attempts, SENT)
    assert sent is None
    assert isinstance(lost, LeaseLost)
    assert await states(owner, attempts) == ["sent", "due", "sending"]
    assert [job.finished for job, _ in attempts] == [True, False, False]
    assert await owner.fetchval("select count(*) from florin.queue_job") == 2


async def test_a_row_in_other_hands_delays_no_other(owner: Any, database: Database) -> None:
    attempts = await make_attempts(owner, database, 3)
    rows = AttemptRows()
    claims = [asyncio.ensure_future(rows.claim(job, key)) for job, key in attempts]
    async with owner.transaction():
        await owner.fetch("select from florin.delivery where id = $1 for update", attempts[1][1].id)
        async with asyncio.timeout(10):
            await asyncio.gather(claims[0], claims[2])
        assert not claims[1].done()
    assert await claims[1] is not None
    assert await states(owner, attempts) == ["sending"] * 3


async def test_what_is_refused_together_is_written_one_by_one(
    owner: Any, database: Database
) -> None:
    attempts = await make_attempts(owner, database, 3)
    rows = AttemptRows()
    await claim_all(rows, attempts)
    await owner.execute(UNDO_ONE)
    try:
        assert await record_all(rows, attempts, SENT) == [None] * 3
    finally:
        await owner.execute(DROP)
    assert await states(owner, attempts) == ["sent"] * 3


async def test_an_attempt_that_is_repeated_keeps_its_job(owner: Any, database: Database) -> None:
    attempts = await make_attempts(owner, database, 2)
    rows = AttemptRows()
    await claim_all(rows, attempts)
    later = Ended("due", "the mail server answered 451", 2.0)
    assert await record_all(rows, attempts, later) == [None] * 2
    assert await states(owner, attempts) == ["due"] * 2
    assert await owner.fetchval("select count(*) from florin.queue_job") == 2
    claimed = await claim_all(rows, attempts)
    assert [(each.row["attempts"], each.row["repeated"]) for each in claimed] == [(2, 0)] * 2
    unknown = Ended("sending", "no answer", 2.0)
    await record_all(rows, attempts, unknown)
    claimed = await claim_all(rows, attempts)
    assert [(each.row["attempts"], each.row["repeated"]) for each in claimed] == [(3, 1)] * 2


async def test_a_job_of_an_older_generation_gets_nothing(owner: Any, database: Database) -> None:
    """It was asked for again while the first job still waited: one message, not two."""
    ((newer, key),) = await make_attempts(owner, database, 1)
    older = QueuedJob(await owner.fetchrow(_JOB), database, lease=timedelta(hours=1))
    await owner.execute("update florin.delivery set generation = 2 where id = $1", key.id)
    attempts = [(older, key), (newer, key._replace(generation=2))]
    rows = AttemptRows()
    nothing, claimed = await claim_all(rows, attempts)
    assert nothing is None
    assert claimed.row["generation"] == 2
    await record_all(rows, [(older, key)], Ended("failed", "not this one"))
    assert (await state_of(owner, key.id))["state"] == "sending"
    await record_all(rows, attempts, SENT)
    assert await states(owner, attempts[1:]) == ["sent"]


@pytest.mark.parametrize("ended", [SENT, Ended("bounced", "550 no such user")])
async def test_an_outcome_waits_for_a_connection(
    owner: Any, database: Database, ended: Ended
) -> None:
    """All connections are in use for longer than a pool waits: what was sent is not forgotten."""
    attempts = await make_attempts(owner, database, 3)
    rows = AttemptRows()
    await claim_all(rows, attempts)
    limits = database.limits
    before, limits.timeout_s = limits.timeout_s, 0.05
    try:
        async with AsyncExitStack() as stack:
            for _ in range(limits.connections):
                await stack.enter_async_context(database.connection())
            recording = asyncio.ensure_future(record_all(rows, attempts, ended))
            await asyncio.wait([recording], timeout=1)
            assert not recording.done()
        limits.timeout_s = before
        assert await recording == [None] * 3
    finally:
        limits.timeout_s = before
    assert await states(owner, attempts) == [ended.state] * 3


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A mail server that refuses some recipients in Latin-1 and with a NUL."""
    writer.write(b"220 mail.example\r\n")
    while line := await reader.readline():
        if line.upper().startswith(b"RCPT") and b"<1@" in line:
            writer.write("450 4.2.1 Empfänger \0gesperrt\r\n".encode("latin-1"))
        elif line.upper().startswith(b"DATA"):
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 taken\r\n")
        else:
            writer.write(b"250 OK\r\n")
    writer.close()


async def test_an_answer_in_another_encoding_is_kept_and_harms_no_other(
    owner: Any, database: Database
) -> None:
    attempts = await make_attempts(owner, database, 3)
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    settings: Any = SimpleNamespace(
        smtp_host="127.0.0.1",
        smtp_port=server.sockets[0].getsockname()[1],
        smtp_tls="off",
        smtp_user=None,
        smtp_password=None,
        smtp_from="cards@shop.example",
        public_url=PUBLIC_URL,
        twilio_account_sid=None,
        twilio_auth_token=None,
        twilio_from=None,
    )
    sender = DeliverySender(settings, SEALER, AsyncMock())
    jobs: list[QueuedJob] = []
    for job, key in attempts:
        payload = {"merchant": str(key.merchant), "delivery": str(key.id), "generation": 1}
        job.text = json.dumps(payload)
        jobs.append(job)
    async with server:
        sent = await asyncio.gather(*map(sender.send, jobs), return_exceptions=True)
        for _, smtp in sender._smtp._idle:  # pyright: ignore[reportPrivateUsage]
            smtp.close()
    assert sent == [None, Continue(2), None]
    assert await states(owner, attempts) == ["sent", "due", "sent"]
    failure = (await state_of(owner, attempts[1][1].id))["failure"]
    assert failure.startswith("the mail server answered 450 4.2.1 Empf?nger")
    assert failure.endswith("gesperrt")


async def test_a_text_that_cannot_be_written_harms_no_other(owner: Any, database: Database) -> None:
    attempts = await make_attempts(owner, database, 3)
    rows = AttemptRows()
    await claim_all(rows, attempts)
    ends = [SENT, Ended("due", "Empf\udce4nger", 2.0), SENT]
    records = (
        rows.record(job, key, "gift", ended)
        for (job, key), ended in zip(attempts, ends, strict=True)
    )
    done = await asyncio.gather(*records, return_exceptions=True)
    assert [type(each) for each in done] == [type(None), asyncpg.DataError, type(None)]
    assert await states(owner, attempts) == ["sent", "sending", "sent"]
