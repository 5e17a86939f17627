"""Query: checks of the query parameters, before anything reads them.

Every route refuses unknown and duplicate parameters. The fast routes, which bypass the framework,
have no parameters.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from florin.kit.http.asgi import Scope
from florin.kit.http.body import invalid_request
from florin.kit.http.explanations import shown

Pairs = list[tuple[str, str]]

_WHOLE = re.compile(r"[0-9]{1,19}")


def query_pairs(scope: Scope) -> Pairs:
    """The parameters as they were sent, empty ones included."""
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def refuse_parameters(scope: Scope) -> None:
    """Raises InvalidRequest for any parameter; for a route without parameters."""
    if scope["query_string"]:
        read_parameters(scope, {})


def read_parameters(
    scope: Scope, known: Mapping[str, Any], more: Callable[[str], bool] | None = None
) -> None:
    """Check the parameters against those of the route, given with their types; `more` accepts
    names that the caller chooses. The scope's query is replaced by what was checked: an empty
    parameter of a list counts as omitted.

    Raises InvalidRequest.
    """
    pairs = query_pairs(scope)
    errors: list[dict[str, str]] = []
    seen: set[str] = set()
    for name, value in pairs:
        if name in known:
            detail = "this parameter is given more than once" if name in seen else None
            detail = detail or _mistake(value, known[name], empty=scope["method"] == "GET")
        elif more is not None and more(name):
            detail = "this parameter is given more than once" if name in seen else None
            detail = detail or _mistake(value, str, empty=True)
        else:
            names = f"; known parameters: {', '.join(sorted(known))}" if known else ""
            detail = f"unknown parameter{names}"
        if detail is not None:
            errors.append({"param": name, "detail": detail})
        seen.add(name)
    if errors:
        raise invalid_request(errors)
    kept = [(name, value) for name, value in pairs if value or name not in known]
    scope["query_string"] = urlencode(kept).encode()


def _mistake(value: str, kind: Any, *, empty: bool) -> str | None:
    """What is wrong with a value; checks that apply to every route."""
    if value == "":
        return None if empty else "this parameter is empty; send a value or omit it"
    if value.lower() == "null":  # the framework would read it as absent
        return "null is no value; omit the parameter"
    if "\0" in value:
        return "text must not contain the character U+0000"
    if kind is int and not _WHOLE.fullmatch(value):
        return f"must be a whole number in decimal digits, such as 20, not {shown(value)}"
    return None
