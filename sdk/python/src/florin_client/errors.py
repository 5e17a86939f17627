"""Errors: what a call raises. Each refusal of Florin is an ApiError; `code` says which.

The refusals that a program usually distinguishes have a class of their own; any other code, also a
new one, is an ApiError or the class of its status.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from florin_client.calls import Call


class FlorinError(Exception):
    """The base of all errors of this package."""


class Unreachable(FlorinError):
    """There was no answer within the budget, and the call had no effect."""


class OutcomeUnknown(FlorinError):
    """There was no definite answer within the budget: the call may have had its effect.

    `Florin.send(error.call)` repeats it under the same key, so that it has its effect once.
    `idempotency_key` is None for a call without keys: read the state before you repeat it.
    """

    def __init__(self, call: "Call[Any]") -> None:
        key = call.idempotency_key
        advice = (
            "repeat it with send(error.call)"
            if key is not None
            else "read the state before you repeat it: this call has no idempotency key"
        )
        super().__init__(f"The outcome of {call.operation} is unknown; {advice}")
        self.call = call
        self.idempotency_key = key


class InvalidSignature(FlorinError):
    """A webhook message is not from Florin, was changed, or is too old."""


class JobFailed(FlorinError):
    """A job failed, or did not end in time; `job` is its last state."""

    def __init__(self, message: str, job: Any) -> None:
        super().__init__(message)
        self.job = job


class ApiError(FlorinError):
    """A refusal: `code`, `status`, `detail`, `param` (the field to blame), `request_id`, and all
    of the answer in `problem`. `retry_after_s`: when to repeat, if the answer says it.
    """

    codes: ClassVar[dict[str, type["ApiError"]]] = {}
    statuses: ClassVar[dict[int, type["ApiError"]]] = {}

    def __init_subclass__(cls, *, code: str | None = None, status: int | None = None) -> None:
        if code is not None:
            ApiError.codes[code] = cls
        if status is not None:
            ApiError.statuses[status] = cls

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", f"The answer was {status}"))
        self.param: str | None = problem.get("param")
        self.errors: list[dict[str, str]] = problem.get("errors", [])
        self.request_id: str | None = problem.get("request_id")
        self.retry_after_s = retry_after_s
        places = [self.param] if self.param else [each.get("param", "") for each in self.errors]
        where = f" ({', '.join(places)})" if places else ""
        super().__init__(f"{self.code}{where}: {self.detail} [request {self.request_id}]")

    @staticmethod
    def of(
        status: int, problem: Mapping[str, Any], retry_after_s: float | None = None
    ) -> "ApiError":
        """The error of an answer, by its code, else by its status."""
        code = str(problem.get("code"))
        kind = ApiError.codes.get(code) or ApiError.statuses.get(status, ApiError)
        return kind(status, problem, retry_after_s)


class Refused(ApiError, status=402):
    """The money does not move; the card or the rules of its program say no."""


class InvalidRequest(ApiError, status=422): ...


class Conflict(ApiError, status=409): ...


class NotFound(ApiError, status=404): ...


class Unauthenticated(ApiError, status=401): ...


class Forbidden(ApiError, status=403): ...


class RateLimited(ApiError, status=429): ...


class QuotaExceeded(ApiError, code="quota_exceeded"): ...


class InsufficientFunds(Refused, code="insufficient_funds"):
    """`available`: what the card has, in minor units."""

    @property
    def available(self) -> int:
        return int(self.problem["available"])


class CardExpired(Refused, code="card_expired"): ...


class CardBlocked(Refused, code="card_blocked"): ...


class CardNotActive(Refused, code="card_not_active"): ...


class CardClosed(Refused, code="card_closed"): ...


class CardNotEmpty(Refused, code="card_not_empty"): ...


class HoldNotOpen(Refused, code="hold_not_open"): ...


class CardNotFound(NotFound, code="card_not_found"): ...


class CodeMalformed(InvalidRequest, code="code_malformed"):
    """A typing error in a code: its check symbol does not match."""


class AmountNotAllowed(InvalidRequest, code="amount_not_allowed"): ...


class IdempotencyKeyReused(InvalidRequest, code="idempotency_key_reused"):
    """The key names another request: a key is for one operation with one body."""
