"""Litestar adapter: strict parsing of bodies and queries, and framework errors as refusals."""

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
from florin.kit.http.body import (
    NO_BODY,
    decode_body,
    invalid_request,
    problem_document,
    problem_headers,
)
from florin.kit.http.explanations import NOTHING, explained
from florin.kit.http.middleware import ProblemView
from florin.kit.observability import logging, metrics

AnyRequest = Request[Any, Any, Any]
Translate = Callable[[Exception, Any], Refusal | None]  # and the request's ASGI scope
_log = logging.get_logger()
_PAIR = re.compile(r"metadata\[([^\[\]]{1,40})\]")
METADATA_FILTERS_MAX = 10
DECODE = "decode"  # option of a route that decodes its body with a function of its own
_nothing = msgspec.json.Decoder(http.Request)


class StrictRequest(Request[Any, Any, Any]):
    """A request whose body is parsed as its route declares it, as strictly as on the fast routes:
    the framework itself would accept "5" and 5.0 as 5.
    """

    async def json(self) -> Any:
        decode = self.route_handler.opt.get(DECODE)
        if decode is not None:
            return decode(await self.body())
        data = self.route_handler.parsed_data_field
        assert data is not None
        return decode_body(_decoder(data.annotation), await self.body())

    async def stream(self) -> AsyncGenerator[bytes]:
        """Raises ClientGone: the framework reports a disconnect as an internal server error."""
        try:
            async for block in super().stream():
                yield block
        except InternalServerException:
            raise ClientGone("the client disconnected before the request was complete") from None


def check_query(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Refuse unknown parameters: a misspelt filter must not return the whole list."""
    scope: Any = connection.scope
    handler: Any = connection.route_handler
    if scope["query_string"] and scope["method"] != "OPTIONS":
        known = _query_kinds(handler, frozenset(connection.path_params))
        by_metadata = handler.operation_class is MetadataFilterOperation
        query.read_parameters(scope, known, _is_pair if by_metadata else None)


def metadata_filter(request: AnyRequest) -> dict[str, str]:
    """The pairs of `metadata[key]=value` in a query. Raises InvalidRequest."""
    pairs = {
        match.group(1): value
        for name, value in request.query_params.multi_items()
        if (match := _PAIR.fullmatch(name))
    }
    if len(pairs) > METADATA_FILTERS_MAX:  # each is one more join to plan
        detail = f"metadata must have at most {METADATA_FILTERS_MAX} pairs, not {len(pairs)}"
        raise InvalidRequest(detail, param="metadata")
    return pairs


@dataclass
class MetadataFilterOperation(Operation):
    """The operation of a route that takes `metadata[key]=value`."""

    def __post_init__(self) -> None:
        described = OpenAPIParameter(
            name="metadata",
            param_in="query",
            description="Only objects with these pairs: `metadata[key]=value`, both text; at most"
            f" {METADATA_FILTERS_MAX}.",
            # Of any type: in a URL a number is text, too, so none is refused.
            schema=Schema(type=OpenAPIType.OBJECT, additional_properties=True),
            style="deepObject",
            explode=True,
        )
        self.parameters = [*(self.parameters or ()), described]


def _is_pair(name: str) -> bool:
    return _PAIR.fullmatch(name) is not None


async def check_body(request: AnyRequest) -> None:
    """Refuse a body with fields on a route without a body; none and `{}` are accepted."""
    handler = request.route_handler
    if handler.opt.get("streams"):
        return  # the route reads its body itself, as a stream
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
    """The query parameters of a route, each by its name in the query with its type."""
    provided = handler.resolve_dependencies()
    kinds: dict[str, Any] = {}

    def add(fields: Any) -> None:
        for name, field in fields.items():
            definition = field.kwarg_definition
            if name in provided:
                add(provided[name].parsed_fn_signature.parameters)
            elif name not in {*RESERVED_KWARGS, *in_path} and not getattr(
                definition, "header", None
            ):
                whole = field.annotation is int or int in (each.raw for each in field.inner_types)
                kinds[_named(definition) or name] = int if whole else str

    add(handler.parsed_fn_signature.parameters)
    return kinds


@cache
def _fields(handler: Any) -> dict[str, Any]:
    """The parameters of a route's function and of its dependencies."""
    fields = dict(handler.parsed_fn_signature.parameters)
    for name, provided in handler.resolve_dependencies().items():
        if fields.pop(name, None) is not None:
            fields |= provided.parsed_fn_signature.parameters
    return fields


def _explained(request: Any, name: str, message: str) -> dict[str, str]:
    """The error of a parameter, by its name in the route's function."""
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


def exception_handlers(translate: Translate, show: ProblemView) -> dict[Any, Any]:
    """One handler for all exceptions; `translate` makes refusals of failed dependencies, `show`
    renders them.
    """

    def answer(request: Any, error: Exception) -> Response[Any]:
        refusal = _refusal(request, error) or translate(error, request.scope)
        if refusal is None:
            raise error  # a bug: RequestMiddleware logs it and answers 500
        if refusal.position is not None:
            request.scope["position"] = refusal.position
        metrics.refusals.labels(refusal.code).inc()
        kind, body = show(request.scope, problem_document(refusal, request.scope["request_id"]))
        return Response(
            body,
            status_code=refusal.status,
            media_type=kind.decode().removesuffix("; charset=utf-8"),  # which it adds
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
        errors: list[dict[str, str]] = [
            _explained(request, str(each["key"]), str(each["message"])) for each in extra
        ]
        if errors and errors[0]["param"] == "data":
            return InvalidRequest(NO_BODY)
        return invalid_request(errors) if errors else InvalidRequest(error.detail)
    if isinstance(error, HTTPException):
        if error.status_code == 413:  # noqa: PLR2004 -- the framework's own limit
            most = request.route_handler.resolve_request_max_body_size()
            return TooLarge(f"The body is larger than {most} bytes")
        if error.status_code < 500:  # noqa: PLR2004 -- a client error
            return InvalidRequest(error.detail)
    return None


def _method_not_allowed(request: Any, error: HTTPException) -> MethodNotAllowed:
    """Name the allowed methods in the message."""
    method = "HEAD" if request.scope.get("head") else request.method
    offered = [each for each in _allowed(error)["allow"].split(", ") if each and each != "OPTIONS"]
    hint = f"; send {' or '.join(offered)} to {request.url.path}" if offered else ""
    return MethodNotAllowed(f"This path does not support {method}{hint}")


def _allowed(error: HTTPException) -> dict[str, str]:
    """The Allow header that a 405 must have (RFC 9110, 15.5.6)."""
    return {"allow": (error.headers or {}).get("allow", "")}
