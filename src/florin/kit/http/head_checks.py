"""Head checks: rules for the head of every request, checked before anything else reads it."""

import re
from collections import Counter
from urllib.parse import unquote_to_bytes

from florin.kit.errors import InvalidRequest, Refusal
from florin.kit.http.asgi import Scope
from florin.kit.http.body import check_encoding
from florin.kit.http.json_limits import NAME_MAX

QUERY_PARAMETERS_MAX = 64  # more than any route has, metadata filters included
_HOST_MAX = 262  # characters: a name of 255, a colon and a port
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ONE_EACH = frozenset(
    (
        b"authorization",
        b"content-type",
        b"florin-client-ip",
        b"florin-consistency",
        b"idempotency-key",
        b"last-event-id",
    )
)


class BadHost(Refusal):
    """The Host header is invalid."""

    code = "bad_host"
    status = 400


def check_head(scope: Scope) -> None:
    """Raises InvalidRequest, BadHost, UnsupportedEncoding; called before the body is read."""
    names = [name for name, _ in scope["headers"]]
    _check_host(scope, names.count(b"host"))
    if b"content-encoding" in names:
        for name, value in scope["headers"]:
            if name == b"content-encoding":
                check_encoding(value.decode("latin-1"))
    if len(set(names)) != len(names):
        _check_repeated(names)
    query: bytes = scope["query_string"]
    if query.count(b"&") >= QUERY_PARAMETERS_MAX:
        _refuse_query(query)


def _check_host(scope: Scope, count: int) -> None:
    """Require exactly one valid Host header (RFC 9112, 3.2); HTTP/1.0 has none."""
    if count > 1:
        raise BadHost("Duplicate Host header; send it once", param="Host")
    if count == 0 and scope["http_version"] == "1.1":
        raise BadHost("Missing Host header; HTTP/1.1 requires one", param="Host")
    for name, value in scope["headers"]:
        if name == b"host":
            if len(value) > _HOST_MAX or _HOST.fullmatch(value) is None:
                raise BadHost(param="Host")
            return


def _check_repeated(names: list[bytes]) -> None:
    """Refuse a duplicate of a header with one value: a proxy may have used the other one."""
    for name, count in Counter(names).items():
        if count > 1 and name in _ONE_EACH:
            param = name.decode().title()
            raise InvalidRequest(f"Duplicate header {param}; send it once", param=param)


def _refuse_query(query: bytes) -> None:
    """Refuse a query with too many parameters; name the first one beyond the limit."""
    beyond = query.split(b"&", QUERY_PARAMETERS_MAX + 1)[QUERY_PARAMETERS_MAX]
    name = unquote_to_bytes(beyond.partition(b"=")[0]).decode(errors="replace")
    detail = f"The query has more than {QUERY_PARAMETERS_MAX} parameters"
    raise InvalidRequest(detail, param=name[:NAME_MAX] or None)
