"""Idempotency key: an Idempotency-Key for what is not money: claimed in the transaction that makes
it.
"""

from typing import Annotated

from litestar.params import Parameter

from florin.kit.postgres.idempotency import claim_key

__all__ = ["Key", "claim_key"]

# Text and no null: of a header "null" the framework would make "not given".
Key = Annotated[
    str,
    Parameter(header="Idempotency-Key", description="One operation, once; at most 255 characters."),
]
