"""Quotas of API keys, members, webhook endpoints and gateways.

`ledger/quotas.sql` has the default limits.
"""

from typing import Literal
from uuid import UUID

from florin.kit.errors import QuotaExceeded
from florin.kit.postgres.database import Tx

QuotaName = Literal["api_keys", "members", "webhook_endpoints", "gateways"]


async def require_quota_left(tx: Tx, merchant: UUID, name: QuotaName) -> None:
    """Require that the merchant may have one more, in the transaction that creates it. Raises
    QuotaExceeded.
    """
    limit: int | None = await tx.value("select exceeded_quota($1, $2)", merchant, name)
    if limit is not None:
        raise QuotaExceeded.of(name, limit)
