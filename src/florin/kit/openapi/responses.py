"""Responses: the OpenAPI responses of a route's refusals."""

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from florin.kit.errors import (
    Forbidden,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Refusal,
    Unauthenticated,
)


class Mistake(msgspec.Struct, kw_only=True):
    """One of several invalid fields."""

    param: str
    detail: str


class Problem(msgspec.Struct, kw_only=True):
    """A problem document (RFC 9457). `code` is stable; `param` is the invalid field, `errors` are
    several invalid fields; `available` is a card's remaining money if it was insufficient.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    param: str | msgspec.UnsetType = msgspec.UNSET
    errors: list[Mistake] | msgspec.UnsetType = msgspec.UNSET
    available: int | msgspec.UnsetType = msgspec.UNSET


_ALWAYS: tuple[type[Refusal], ...] = (
    Unauthenticated,
    Forbidden,
    InvalidRequest,
    RateLimited,
    Overloaded,
)


def refusal_responses(*refusals: type[Refusal], public: bool = False) -> dict[int, ResponseSpec]:
    """The refusals of a route by status; `public`: it requires no credentials."""
    by_status: dict[int, list[str]] = {}
    always = [each for each in _ALWAYS if not public or each not in {Unauthenticated, Forbidden}]
    for refusal in (*refusals, *always):
        line = f"`{refusal.code}`: {refusal.title()}"
        lines = by_status.setdefault(refusal.status, [])
        if line not in lines:
            lines.append(line)
    return {
        status: ResponseSpec(
            data_container=Problem,
            description="\n\n".join(lines),
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status, lines in sorted(by_status.items())
    }
