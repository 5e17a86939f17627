"""Query: the parameters of an address, checked before anything reads them.

Every route refuses what it does not know, and takes each parameter once. The routes that answer
without the framework know none at all.
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
    """The parameters as they were sent, the empty ones too."""
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def refuse_parameters(scope: Scope) -> None:
    """Raises InvalidRequest for any parameter: for a route that knows none."""
    if scope["query_string"]:
        read_parameters(scope, {})


def read_parameters(
    scope: Scope, known: Mapping[str, Any], more: Callable[[str], bool] | None = None
) -> None:
    """Check the parameters against those of the route, each with the type it is read as; `more`
    accepts names that are the caller's own. What the route then reads is what was checked: an
    empty parameter of a list counts as left out.

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
            named = f"; there are {', '.join(sorted(known))}" if known else ""
            detail = f"there is no such parameter here{named}"
        if detail is not None:
            errors.append({"param": name, "detail": detail})
        seen.add(name)
    if errors:
        raise invalid_request(errors)
    kept = [(name, value) for name, value in pairs if value or name not in known]
    scope["query_string"] = urlencode(kept).encode()


def _mistake(value: str, kind: Any, *, empty: bool) -> str | None:
    """What is wrong with a value, whatever its route does with it."""
    if value == "":
        return None if empty else "this parameter is empty; give a value or leave it out"
    if value.lower() == "null":  # the framework would take it for "not given"
        return "null is no value; leave the parameter out"
    if "\0" in value:
        return "text must not contain the character U+0000"
    if kind is int and not _WHOLE.fullmatch(value):
        return f"give a whole number in decimal digits, such as 20, not {shown(value)}"
    return None
