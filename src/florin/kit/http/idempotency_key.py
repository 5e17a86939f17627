"""Idempotency key: the Idempotency-Key of a request that creates an object without a posting. The
transaction that creates the object claims it.
"""

from typing import Annotated

from litestar.params import Parameter

from florin.kit.postgres.idempotency import claim_key

__all__ = ["Key", "claim_key"]

# `str` without None: for an optional header the framework reads the text "null" as absent.
Key = Annotated[
    str,
    Parameter(header="Idempotency-Key", description="One operation, once; at most 255 characters."),
]
