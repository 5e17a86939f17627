"""Payouts: pay merchants what the installation's own gateways collected for them.

A batch is one transaction: with the key of its request it is made once, also when the process is
killed in between. The money itself is sent by the operator's bank, from the batch's file; a payout
that did not arrive is undone, and what it settled is owed again.
"""

from uuid import UUID

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.errors import NotFound, Refusal
from florin.kit.http.body import fingerprint
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.postgres.idempotency import claim_key
from florin.operator.settlement.payout import (
    Payout,
    PayoutBatch,
    PayoutBatchRequest,
    find_batch,
    payout_from_row,
)

MERCHANTS_MAX = 1000  # of one batch

# Whose payments have something to settle. The operator's own money needs no payout.
_MERCHANTS = """
select distinct p.merchant from florin.payment p
join florin.merchant m on m.id = p.merchant and not m.test
join florin.gateway_posting g on g.merchant = p.merchant and g.payment = p.id and g.currency = $3
where p.gateway = $2 and p.merchant <> $1 and p.received_currency = $3 and p.paid_at <= $4
group by p.merchant, p.id having sum(g.amount) <> 0
order by p.merchant limit $5
"""
_BATCH = """
insert into florin.payout_batch (merchant, id, currency, until, minimum, actor, created_at)
values ($1, $2, $3, coalesce($4, clock($1)), $5, $6, clock($1)) returning *
"""
_PAYOUT = """
insert into florin.payout (merchant, id, operator, batch, currency, amount, commission, payments,
  created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, clock($1))
"""


class PayoutEnded(Refusal):
    """This payout has failed already."""

    code = "payout_ended"
    status = 409


async def make_batch(
    database: Database, by: AuditActor, request: PayoutBatchRequest, *, key: str
) -> tuple[PayoutBatch, bool]:
    """Make a batch; return it, and whether it is a repetition. Raises IdempotencyKeyReused."""
    batch = ids.new_id()
    async with database.transaction() as tx:
        first = await claim_key(
            tx,
            merchant=by.merchant,
            key=key,
            operation="payout-batch",
            fingerprint=fingerprint("payout-batch", request),
            noun=batch,
        )
        if first == batch:
            await _pay_all(tx, by, request, batch)
    return await find_batch(database, by.merchant, ids.show_id("pob", first)), first != batch


async def _pay_all(tx: Tx, by: AuditActor, request: PayoutBatchRequest, batch: UUID) -> None:
    made = await tx.one(
        _BATCH, by.merchant, batch, request.currency, request.until, request.minimum, by.actor
    )
    assert made is not None
    until, number, total = made["until"], 0, 0
    merchants = await tx.all(
        _MERCHANTS, by.merchant, ids.NONE, request.currency, until, MERCHANTS_MAX
    )
    for each in merchants:
        merchant, payout = each["merchant"], ids.new_id()
        paid = await tx.one(
            "select * from pay_out($1, $2, $3, $4, $5, $6)",
            merchant,
            payout,
            request.currency,
            until,
            request.minimum,
            "operator",
        )
        assert paid is not None
        if paid["amount"] == 0:
            continue
        await tx.run(
            _PAYOUT,
            merchant,
            payout,
            by.merchant,
            batch,
            request.currency,
            paid["amount"],
            paid["commission"],
            paid["payments"],
        )
        number, total = number + 1, total + paid["amount"]
    await tx.run(
        "update florin.payout_batch set payouts = $3, amount = $4 where merchant = $1 and id = $2",
        by.merchant,
        batch,
        number,
        total,
    )
    facts = {"currency": request.currency, "payouts": number, "amount": total}
    named = ids.show_id("pob", batch)
    await audit_log.record_audit(tx, by, "payout_batch.made", named, after=facts)


async def confirm_payout(database: Database, by: AuditActor, text: str) -> Payout:
    """Record that a payout arrived; done already is no error. Raises NotFound, PayoutEnded."""
    async with database.transaction() as tx:
        row = await _locked(tx, by, text)
        if row["state"] == "failed":
            raise PayoutEnded
        if row["state"] == "made":
            await _resolve(tx, by, row, "paid", None)
        row = await _locked(tx, by, text)
    return payout_from_row(row)


async def fail_payout(database: Database, by: AuditActor, text: str, reason: str) -> Payout:
    """Undo a payout that did not arrive; done already is no error. Raises NotFound."""
    async with database.transaction() as tx:
        row = await _locked(tx, by, text)
        if row["state"] != "failed":
            await tx.run(
                "select undo_payout($1, $2, $3, $4)", row["merchant"], row["id"], "operator", reason
            )
            await _resolve(tx, by, row, "failed", reason)
        row = await _locked(tx, by, text)
    return payout_from_row(row)


async def _resolve(tx: Tx, by: AuditActor, row: Row, state: str, reason: str | None) -> None:
    await tx.run(
        "update florin.payout set state = $3, reason = $4, resolved_at = clock(merchant)"
        " where merchant = $1 and id = $2",
        row["merchant"],
        row["id"],
        state,
        reason,
    )
    facts = {"amount": row["amount"], "currency": row["currency"]} | (
        {} if reason is None else {"reason": reason}
    )
    named = ids.show_id("pyo", row["id"])
    await audit_log.record_audit(tx, by, f"payout.{state}", named, after=facts)


async def _locked(tx: Tx, by: AuditActor, text: str) -> Row:
    """A payout that the operator made. Raises NotFound."""
    row = await tx.one(
        "select * from florin.payout where id = $1 and operator = $2 for no key update",
        ids.require_id("pyo", text),
        by.merchant,
    )
    if row is None:
        raise NotFound
    return row
