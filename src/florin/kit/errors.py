"""Errors: refusals, the expected negative answers, each with a code, a status and a title.

A refusal is documented and never raises an alert. Any other exception is a bug and is logged as an
error. Rendered as `application/problem+json` (RFC 9457).
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class Refusal(Exception):
    """The base of all refusals; a subclass has `code`, `status` and the title as its docstring."""

    code: ClassVar[str]
    status: ClassVar[int]
    retry_after_s: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        param: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
        position: str | None = None,
    ) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.param = param
        self.extra = dict(extra or {})
        self.position = position  # in the database's log, at which the ledger refused
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    @classmethod
    def title(cls) -> str:
        return (cls.__doc__ or cls.__name__).strip()


class InvalidRequest(Refusal):
    """The request is not well formed."""

    code = "invalid_request"
    status = 422


class IdempotencyKeyRequired(Refusal):
    """This operation needs an Idempotency-Key header."""

    code = "idempotency_key_required"
    status = 400


class IdempotencyKeyReused(Refusal):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"
    status = 422


class Unauthenticated(Refusal):
    """No valid credentials were given."""

    code = "unauthenticated"
    status = 401


class Forbidden(Refusal):
    """These credentials do not allow this."""

    code = "forbidden"
    status = 403


class NotFound(Refusal):
    """There is no such object."""

    code = "not_found"
    status = 404


class MethodNotAllowed(Refusal):
    """This path does not support this method."""

    code = "method_not_allowed"
    status = 405


class TooLarge(Refusal):
    """The request is too large."""

    code = "too_large"
    status = 413


class UnsupportedEncoding(Refusal):
    """The request body has an unsupported encoding."""

    code = "unsupported_encoding"
    status = 415


class HeadersTooLarge(Refusal):
    """The headers of the request are too large."""

    code = "headers_too_large"
    status = 431


class TooSlow(Refusal):
    """The request took too long to arrive."""

    code = "too_slow"
    status = 408


class ClientGone(Refusal):
    """The client disconnected before its answer was ready."""

    code = "client_gone"
    status = 499  # never sent; in metrics and log it keeps a disconnect apart from a server error


class RateLimited(Refusal):
    """Too many attempts; wait and try again."""

    code = "rate_limited"
    status = 429
    retry_after_s = 30


class QuotaExceeded(Refusal):
    """The merchant reached its quota; the operator of Florin can raise it."""

    code = "quota_exceeded"
    status = 429
    retry_after_s = 60

    @classmethod
    def of(cls, quota: str, limit: int, *, position: str | None = None) -> "QuotaExceeded":
        return cls(
            f"The quota {quota} of this merchant is {limit}",
            extra={"quota": quota, "limit": limit},
            position=position,
        )


class Overloaded(Refusal):
    """Florin is overloaded; nothing happened, repeat the request."""

    code = "overloaded"
    status = 503
    retry_after_s = 1


class OutcomeUnknown(Refusal):
    """The outcome is unknown; repeat the request with the same Idempotency-Key."""

    code = "outcome_unknown"
    status = 503
    retry_after_s = 1
