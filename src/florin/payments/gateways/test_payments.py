"""Payments of the test gateway: opened, decided and looked at, many in one statement."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from florin.kit import ids
from florin.kit.batcher import Batcher
from florin.kit.errors import NotFound
from florin.kit.observability.context import current_work
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.queue.enqueue import NewJob, enqueue
from florin.payments.gateway import PaymentRow
from florin.payments.jobs import look_job
from florin.payments.page_token import page_token_hash

WITHIN_S = 10.0  # of the choices that wait together
DELAY = timedelta(seconds=15)  # after which the money of a delayed payment arrives
Outcome = Literal["paid", "declined", "delayed", "expired"]
OUTCOMES: tuple[Outcome, ...] = ("paid", "declined", "delayed", "expired")

_OPEN = """
insert into florin.test_payment (merchant, payment, token_hash, return_url)
select * from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[])
on conflict (merchant, payment) do update set token_hash = excluded.token_hash
"""
_LOOK = """
select t.merchant, t.payment, t.outcome, t.closed,
  t.decided_at <= clock(t.merchant) - $3::interval as arrived, p.amount, p.currency,
  coalesce((select jsonb_agg(jsonb_build_object('ref', r.id, 'amount', r.amount, 'ours', r.ours)
    order by r.id) from florin.test_refund r
    where r.merchant = t.merchant and r.payment = t.payment), '[]')::text as refunds,
  coalesce((select jsonb_agg(jsonb_build_object('ref', d.id, 'amount', d.amount, 'state', d.state)
    order by d.id) from florin.test_dispute d
    where d.merchant = t.merchant and d.payment = t.payment), '[]')::text as disputes
from unnest($1::uuid[], $2::uuid[]) as u (merchant, payment)
join florin.test_payment t on t.merchant = u.merchant and t.payment = u.payment
join florin.payment p on p.merchant = t.merchant and p.id = t.payment
"""
# The outcome changes under the row's lock only, which is taken in one order and before it compares.
_DECIDE = """
with found as (
  select t.*, p.orders, u.outcome as chosen from unnest($1::bytea[], $2::text[])
    as u (token_hash, outcome)
  join florin.test_payment t on t.token_hash = u.token_hash
  join florin.payment p on p.merchant = t.merchant and p.id = t.payment
  order by t.merchant, t.payment for no key update of t
), decided as (
  update florin.test_payment t set outcome = f.chosen, decided_at = clock(t.merchant) from found f
  where t.merchant = f.merchant and t.payment = f.payment
    and t.outcome is distinct from 'paid' and not (t.closed and f.chosen <> 'paid')
  returning t.payment
)
select f.*, exists (select from decided d where d.payment = f.payment) as counts from found f
"""


class _OpenedPage(NamedTuple):
    payment: PaymentRow
    token: str


class _Decision(NamedTuple):
    token_hash: bytes
    outcome: Outcome
    trace: str | None


class TestPayments:
    """The records of the test gateway."""

    __test__ = False  # no class of tests

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opening: Batcher[_OpenedPage, bool] = Batcher(self._open)
        self._looking: Batcher[PaymentRow, Row | None] = Batcher(self._look)
        self._deciding: Batcher[_Decision, Row | None] = Batcher(self._decide)

    async def open(self, payment: PaymentRow, token: str) -> None:
        """Record the page of a payment."""
        await self._opening.submit(_OpenedPage(payment, token))
        record_commit()

    async def look(self, payment: PaymentRow) -> Row | None:
        return await self._looking.submit(payment)

    async def decide(self, token: str, outcome: Outcome) -> Row:
        """The buyer's choice on the payment page; return the payment's row, and as `counts` whether
        it counted. What was paid stays paid. Raises NotFound.
        """
        trace = current_work().to_text()
        row = await self._deciding.submit(_Decision(page_token_hash(token), outcome, trace))
        if row is None:
            raise NotFound
        record_commit()
        return row

    async def _open(self, pages: list[_OpenedPage]) -> Sequence[bool]:
        unique = {page.payment.id: page for page in pages}.values()
        await self._database.change(
            _OPEN,
            [page.payment.merchant for page in unique],
            [page.payment.id for page in unique],
            [page_token_hash(page.token) for page in unique],
            [page.payment.return_url for page in unique],
        )
        return [True for _ in pages]

    async def _look(self, payments: list[PaymentRow]) -> Sequence[Row | None]:
        rows = await self._database.all(
            _LOOK, [each.merchant for each in payments], [each.id for each in payments], DELAY
        )
        by_payment: dict[UUID, Row] = {row["payment"]: row for row in rows}
        return [by_payment.get(each.id) for each in payments]

    async def _decide(self, decisions: list[_Decision]) -> Sequence[Row | None]:
        rows: dict[int, Row | None] = {}
        async with self._database.transaction(within_s=WITHIN_S) as tx:
            # Two choices on one page follow each other.
            while left := [n for n in range(len(decisions)) if n not in rows]:
                first = {decisions[n].token_hash: n for n in reversed(left)}
                found = await _decide_in(tx, [decisions[n] for n in first.values()])
                rows |= {n: found.get(token_hash) for token_hash, n in first.items()}
        return [rows[n] for n in range(len(decisions))]


async def _decide_in(tx: Tx, decisions: list[_Decision]) -> dict[bytes, Row]:
    """Decide pages, each once."""
    rows = await tx.all(
        _DECIDE, [each.token_hash for each in decisions], [each.outcome for each in decisions]
    )
    found = {bytes(row["token_hash"]): row for row in rows}
    # Durable like the webhook of a real gateway, should the request be cut off.
    jobs = [
        _look_job(found[each.token_hash], each.trace)
        for each in decisions
        if each.token_hash in found
    ]
    if jobs:
        await enqueue(tx, *jobs)
    return found


def _look_job(row: Row, trace: str | None) -> NewJob:
    return look_job(row["merchant"], row["payment"], cause=ids.new_id().hex, trace=trace)
