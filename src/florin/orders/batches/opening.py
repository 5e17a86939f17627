"""Opening in batches: payments whose pages were made at the same time are recorded together."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from florin.kit.batcher import Batcher
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import Database, read_position
from florin.payments.gateway import Opened

_OPENED = """
update florin.payment p set state = 'open', reference = u.reference, url = u.url
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) as u (merchant, id, reference, url)
where p.merchant = u.merchant and p.id = u.id and p.state = 'created'
"""


class _OpenedPayment(NamedTuple):
    merchant: UUID
    payment: UUID
    opened: Opened


class OpenedPayments:
    """Records what gateways made for payments."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[_OpenedPayment, str] = Batcher(self._record)

    async def record(self, merchant: UUID, payment: UUID, opened: Opened) -> str:
        """Record it unless the payment is open already; return the log position afterwards."""
        position = await self._batcher.submit(_OpenedPayment(merchant, payment, opened))
        record_commit()
        return position

    async def finish(self) -> None:
        """Wait until no batch is in flight."""
        await self._batcher.settle()

    async def _record(self, items: list[_OpenedPayment]) -> Sequence[str]:
        # Of a payment that occurs twice, a gateway made one page.
        items_ = sorted({item.payment: item for item in items}.values())
        async with self._database.connection() as connection:
            await connection.execute(
                _OPENED,
                [item.merchant for item in items_],
                [item.payment for item in items_],
                [item.opened.reference for item in items_],
                [item.opened.url for item in items_],
            )
            position = await read_position(connection)
        return [position for _ in items]
