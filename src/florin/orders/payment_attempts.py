"""Payment attempts: an order is paid in one of at most ten attempts, each a row of `payment`."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from florin.kit.batcher import Batcher
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound, Refusal
from florin.kit.postgres.database import Database, Row, Tx
from florin.payments.gateway import PaymentRow
from florin.payments.payment import ROWS, payment_row

OPEN_FOR = timedelta(minutes=35)  # Stripe's least is 30 minutes
ATTEMPTS_MAX = 10

_PAYMENT = """
insert into florin.payment (merchant, id, orders, attempt, provider, gateway, currency, amount,
  expires_at, look_due, created_at)
select o.merchant, $3, o.id, $4, $5, $6, o.currency, o.amount, clock(o.merchant) + $7,
  clock_timestamp() + interval '1 minute', clock(o.merchant)
from florin.orders o where o.merchant = $1 and o.id = $2
"""


class OrderNotPayable(Refusal):
    """The order cannot be paid any more, or is being paid."""

    code = "order_not_payable"
    status = 402


async def read_payment_row(
    database: Database, sealer: Sealer, merchant: UUID, payment: UUID
) -> PaymentRow:
    """A payment as its gateway needs it, with the address to which the buyer returns. Raises
    NotFound.
    """
    row = await database.one(ROWS, [merchant], [payment])
    if row is None:
        raise NotFound
    return _payment_row(row, sealer)


def _payment_row(row: Row, sealer: Sealer) -> PaymentRow:
    back: str | None = row["return_url"]
    if back is None:
        bound_to = row["merchant"].bytes + row["orders"].bytes
        back = f"{row['base_url']}/o/{sealer.unseal(row['token_sealed'], bound_to=bound_to)}"
    return payment_row(row, back)


class PaymentRows:
    """Reads payments as `read_payment_row` does: together if they are wanted at the same time."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._batcher: Batcher[tuple[UUID, UUID], Row | None] = Batcher(self._read)

    async def read(self, merchant: UUID, payment: UUID) -> PaymentRow:
        """Raises NotFound."""
        row = await self._batcher.submit((merchant, payment))
        if row is None:
            raise NotFound
        return _payment_row(row, self._sealer)

    async def _read(self, wanted: list[tuple[UUID, UUID]]) -> Sequence[Row | None]:
        rows = await self._database.all(
            ROWS, [merchant for merchant, _ in wanted], [payment for _, payment in wanted]
        )
        found = {(row["merchant"], row["id"]): row for row in rows}
        return [found.get(each) for each in wanted]


async def insert_attempt(
    tx: Tx,
    merchant: UUID,
    order: UUID,
    payment: UUID,
    attempt: int,
    chosen: tuple[str, UUID | None],
) -> None:
    """Write an attempt. `chosen`: the provider and the gateway that take the payment."""
    await tx.run(_PAYMENT, merchant, order, payment, attempt, *chosen, OPEN_FOR)


async def begin_attempt(
    tx: Tx, order: Row, payments: Sequence[Row], payment: UUID, chosen: tuple[str, UUID | None]
) -> None:
    """Begin another attempt for a locked order; `payments`: those so far, locked. Raises
    OrderNotPayable.
    """
    pending = any(each["state"] in {"processing", "paid"} for each in payments)
    if order["state"] not in {"placed", "lapsed"} or pending:
        raise OrderNotPayable
    attempt = max(each["attempt"] for each in payments) + 1
    if attempt > ATTEMPTS_MAX:
        raise OrderNotPayable(f"{ATTEMPTS_MAX} attempts to pay this order were made")
    await insert_attempt(tx, order["merchant"], order["id"], payment, attempt, chosen)
    if order["state"] == "lapsed":
        await tx.run(
            "update florin.orders set state = 'placed', closed_at = null"
            " where merchant = $1 and id = $2",
            order["merchant"],
            order["id"],
        )
