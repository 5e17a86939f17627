"""Litestar adapter: bodies and queries read strictly, and the framework's own errors as our
refusals.
"""

import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.constants import RESERVED_KWARGS
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.openapi.spec import OpenAPIType, Operation, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.params import QueryParameter
from litestar.response import Response

from florin.kit.errors import (
    ClientGone,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Refusal,
    TooLarge,
)
from florin.kit.http import body as http
from florin.kit.http import query
from florin.kit.http.body import decode_body, invalid_request, problem_document, problem_headers
from florin.kit.http.explanations import NOTHING, explained
from florin.kit.observability import logging, metrics

Translate = Callable[[Exception, Any], Refusal | None]  # and the request's ASGI scope
_log = logging.get_logger()
_PAIR = re.compile(r"metadata\[([^\[\]]{1,40})\]")
METADATA_FILTERS_MAX = 10
_nothing = msgspec.json.Decoder(http.Request)


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is read as its route declares it, and as strictly as the hot routes do:
    the framework itself would take "5" and 5.0 for 5.
    """

    async def json(self) -> Any:
        data = self.route_handler.parsed_data_field
        assert data is not None
        return decode_body(_decoder(data.annotation), await self.body())

    async def stream(self) -> AsyncGenerator[bytes]:
        """Raises ClientGone: the framework calls a client that goes away an error of the server."""
        try:
            async for block in super().stream():
                yield block
        except InternalServerException:
            raise ClientGone("the request was cut off") from None


def check_query(asked: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Refuse what a route does not know: a misspelt filter must not list everything."""
    scope: Any = asked.scope
    handler: Any = asked.route_handler
    if scope["query_string"] and scope["method"] != "OPTIONS":
        known = _query_kinds(handler, frozenset(asked.path_params))
        own = handler.operation_class is MetadataFilterOperation
        query.read_parameters(scope, known, _is_pair if own else None)


def metadata_filter(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The pairs of `metadata[key]=value` in a query. Raises InvalidRequest."""
    pairs = {
        match.group(1): value
        for name, value in request.query_params.multi_items()
        if (match := _PAIR.fullmatch(name))
    }
    if len(pairs) > METADATA_FILTERS_MAX:  # each is one more join to plan
        detail = f"give at most {METADATA_FILTERS_MAX} pairs, not {len(pairs)}"
        raise InvalidRequest(detail, param="metadata")
    return pairs


@dataclass
class MetadataFilterOperation(Operation):
    """The operation of a route that takes `metadata[key]=value`."""

    def __post_init__(self) -> None:
        described = OpenAPIParameter(
            name="metadata",
            param_in="query",
            description="Pairs that an object must have: `metadata[key]=value`, both text; at most"
            f" {METADATA_FILTERS_MAX}.",
            # Of any type: in an address a number is text as well, so none is refused.
            schema=Schema(type=OpenAPIType.OBJECT, additional_properties=True),
            style="deepObject",
            explode=True,
        )
        self.parameters = [*(self.parameters or ()), described]


def _is_pair(name: str) -> bool:
    return _PAIR.fullmatch(name) is not None


async def check_body(request: Request[Any, Any, Any]) -> None:
    """Refuse what a route that takes no body does not know; nothing and `{}` are fine."""
    handler = request.route_handler
    if handler.opt.get("streams"):
        return  # it reads its body itself, piece by piece
    if handler.parsed_data_field is None and request.method != "GET":
        body = await request.body()
        if body.strip():
            decode_body(_nothing, body)


@cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def _named(definition: Any) -> str | None:
    if isinstance(definition, QueryParameter):
        return definition.name
    return getattr(definition, "query", None)


@cache
def _query_kinds(handler: Any, in_path: frozenset[str]) -> dict[str, Any]:
    """The parameters of a route by their names in the query, each with the type it is read as."""
    provided = handler.resolve_dependencies()
    found: dict[str, Any] = {}

    def add(fields: Any) -> None:
        for name, field in fields.items():
            definition = field.kwarg_definition
            if name in provided:
                add(provided[name].parsed_fn_signature.parameters)
            elif name not in {*RESERVED_KWARGS, *in_path} and not getattr(
                definition, "header", None
            ):
                whole = field.annotation is int or int in (each.raw for each in field.inner_types)
                found[_named(definition) or name] = int if whole else str

    add(handler.parsed_fn_signature.parameters)
    return found


@cache
def _fields(handler: Any) -> dict[str, Any]:
    """The parameters of a route's function, and of what it depends on."""
    fields = dict(handler.parsed_fn_signature.parameters)
    for name, provided in handler.resolve_dependencies().items():
        if fields.pop(name, None) is not None:
            fields |= provided.parsed_fn_signature.parameters
    return fields


def _explained(request: Any, name: str, message: str) -> dict[str, str]:
    """What is wrong with the parameter of a route's function that has this name."""
    field = _fields(request.route_handler).get(name)
    if field is None:
        return {"param": name, "detail": message}
    definition = field.kwarg_definition
    param = _named(definition) or name
    value: Any = request.query_params.get(param, NOTHING)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    about = getattr(definition, "description", None) or ""
    return {"param": param, "detail": explained(message, param, field.raw, value, about)}


def exception_handlers(translate: Translate) -> dict[Any, Any]:
    """One handler for all that is raised; `translate` names what the outside did to us."""

    def answer(request: Any, error: Exception) -> Response[Any]:
        refusal = _refusal(request, error) or translate(error, request.scope)
        if refusal is None:
            raise error  # a bug: the edge logs it and answers 500
        if refusal.position is not None:
            request.scope["position"] = refusal.position
        metrics.refusals.labels(refusal.code).inc()
        return Response(
            problem_document(refusal, request.scope["request_id"]),
            status_code=refusal.status,
            media_type="application/problem+json",
            headers={
                "cache-control": "no-store",
                **problem_headers(refusal),
                **(_allowed(error) if isinstance(error, MethodNotAllowedException) else {}),
            },
        )

    return {Exception: answer}


def _refusal(request: Any, error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFoundException):
        return NotFound()
    if isinstance(error, MethodNotAllowedException):
        return _method_not_allowed(request, error)
    if isinstance(error, ValidationException):
        extra: list[Any] = error.extra if isinstance(error.extra, list) else []
        found: list[dict[str, str]] = [
            _explained(request, str(each["key"]), str(each["message"])) for each in extra
        ]
        if found and found[0]["param"] == "data":
            return InvalidRequest("this request needs a JSON body")
        return invalid_request(found) if found else InvalidRequest(error.detail)
    if isinstance(error, HTTPException):
        if error.status_code == 413:  # noqa: PLR2004 -- the framework's own limit
            return TooLarge()
        if error.status_code < 500:  # noqa: PLR2004 -- the request's fault
            return InvalidRequest(error.detail)
    return None


def _method_not_allowed(request: Any, error: HTTPException) -> MethodNotAllowed:
    """Point to the methods that there are."""
    method = "HEAD" if request.scope.get("head") else request.method
    offered = [each for each in _allowed(error)["allow"].split(", ") if each and each != "OPTIONS"]
    pointer = f"; send {' or '.join(offered)} to {request.url.path}" if offered else ""
    return MethodNotAllowed(f"this address does not answer {method}{pointer}")


def _allowed(error: HTTPException) -> dict[str, str]:
    """RFC 9110 wants to know with a 405 which methods there are."""
    return {"allow": (error.headers or {}).get("allow", "")}
