"""Litestar: how the framework's own errors become our refusals."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from litestar.response import Response

from florin.kit import log, metrics
from florin.kit.errors import InvalidRequest, MethodNotAllowed, NotFound, Refusal, TooLarge
from florin.kit.http import invalid, problem, problem_headers

Translate = Callable[[Exception, str], Refusal | None]
_log = log.get()


def exception_handlers(translate: Translate) -> dict[Any, Any]:
    """One handler for all that is raised; `translate` names what the outside did to us."""

    def answer(request: Any, error: Exception) -> Response[Any]:
        refusal = _refusal(error) or translate(error, request.method)
        if refusal is None:
            raise error  # a bug: the edge logs it and answers 500
        metrics.refusals.labels(refusal.code).inc()
        return Response(
            problem(refusal, request.scope["request_id"]),
            status_code=refusal.status,
            media_type="application/problem+json",
            headers={"cache-control": "no-store", **problem_headers(refusal)},
        )

    return {Exception: answer}


def _refusal(error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFoundException):
        return NotFound()
    if isinstance(error, MethodNotAllowedException):
        return MethodNotAllowed()
    if isinstance(error, ValidationException | SerializationException | ClientException):
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, msgspec.MsgspecError):
            cause = cause.__cause__
        if isinstance(cause, msgspec.MsgspecError):
            return invalid(cause)
    if isinstance(error, HTTPException):
        if error.status_code == 413:  # noqa: PLR2004 -- the framework's own limit
            return TooLarge()
        if error.status_code < 500:  # noqa: PLR2004 -- the request's fault
            return InvalidRequest(error.detail)
    return None
