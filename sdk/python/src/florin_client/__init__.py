"""The client of Florin, a gift-card platform."""

from florin_client.client import AsyncFlorin, Florin
from florin_client.errors import (
    ApiError,
    FlorinError,
    InvalidSignature,
    OutcomeUnknown,
    Unreachable,
)
from florin_client.webhooks import verify_webhook

__all__ = [
    "ApiError",
    "AsyncFlorin",
    "Florin",
    "FlorinError",
    "InvalidSignature",
    "OutcomeUnknown",
    "Unreachable",
    "verify_webhook",
]
