"""Payment rows: a payment as its gateway needs it, with the address to which the buyer returns."""

from uuid import UUID

from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from florin.payments.gateway import PaymentRow
from florin.payments.payment import ROW, payment_row


async def read_payment_row(
    database: Database, sealer: Sealer, merchant: UUID, payment: UUID
) -> PaymentRow:
    """Raises NotFound."""
    row = await database.one(ROW, merchant, payment)
    if row is None:
        raise NotFound
    back: str | None = row["return_url"]
    if back is None:
        token = sealer.unseal(row["token_sealed"], bound_to=merchant.bytes + row["orders"].bytes)
        back = f"{row['base_url']}/o/{token}"
    return payment_row(row, back)
