"""Idempotency: claims the idempotency key of a request without a posting, in the transaction that
creates its object.
"""

from uuid import UUID

from florin.kit.errors import IdempotencyKeyReused
from florin.kit.postgres.database import Tx


async def claim_key(
    tx: Tx, *, merchant: UUID, key: str, operation: str, fingerprint: bytes, noun: UUID
) -> UUID:
    """Return the id of what the key made: `noun`, or of an earlier request's.

    Raises IdempotencyKeyReused if the key was used for another request.
    """
    first: UUID | None = await tx.value(
        "select once($1, $2, $3, $4, $5)", merchant, key, operation, fingerprint, noun
    )
    if first is None:
        raise IdempotencyKeyReused
    return first
