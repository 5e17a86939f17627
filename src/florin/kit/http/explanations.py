"""Explanations: an error of the decoder as a message for the API's caller, with the expected form
and the value that was sent. A secret is never repeated.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from florin.kit.observability import redaction

NOTHING = object()  # the value is unknown
_VALUE_MAX = 40  # characters of a value that a message repeats
_EXPECTED = re.compile(
    r"Expected `(?P<kind>[^`]+)`(?:, got `(?P<got>[^`]+)`"
    r"| (?P<bound>>=|<=) (?P<limit>-?[0-9]+)"
    r"| of length (?P<size>>=|<=) (?P<length>[0-9]+)"
    r"| (?P<form>matching regex) .*)",
    re.DOTALL,
)
_KINDS = {
    "int": "a whole number", "str": "text", "bool": "true or false", "float": "a number",
    "object": "an object", "array": "a list",
}  # fmt: skip
_UNITS = {"str": "characters", "array": "items", "object": "pairs"}
_AT_LEAST = {">=": "at least", "<=": "at most"}
_SECRET = frozenset(
    ("code", "codes", "pin", "password", "token", "secret", "key", "authorization", "signature")
)


def explained(text: str, param: str, kind: Any, value: Any = NOTHING, about: str = "") -> str:
    """A message for an error of the decoder in the field `param`, which has the type `kind`;
    `about` describes the required form of a text.
    """
    given = "" if value is NOTHING or _is_secret(param, value) else f", not {shown(value)}"
    if text.startswith("Invalid enum value"):
        options = next(_options(kind), ())
        return f"must be one of {', '.join(map(str, options))}{given}" if options else text
    if text in {"Number out of range", "Integer value out of range"}:
        return "this number is out of range"
    match = _EXPECTED.fullmatch(text)
    if match is None:
        return text
    if match["got"]:
        kinds = [_KINDS.get(each, each) for each in match["kind"].split(" | ")]
        return f"must be {' or '.join(kinds)}{given}"
    if match["bound"]:
        return f"must be {_AT_LEAST[match['bound']]} {match['limit']}{given}"
    if match["size"]:
        if (match["size"], match["length"]) == (">=", "1"):
            return "must not be empty"
        unit = _UNITS.get(match["kind"], "items")
        number = f", not {len(value)}" if given and hasattr(value, "__len__") else ""
        return f"must have {_AT_LEAST[match['size']]} {match['length']} {unit}{number}"
    about = about or next(_descriptions(kind), "")
    return f"expected: {about.rstrip('.')}{given}" if about else f"has an invalid format{given}"


def shown(value: Any) -> str:
    """A value as a message repeats it: truncated, and without nested content."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > _VALUE_MAX:
        value = f"{value[:_VALUE_MAX]}\u2026"
    return json.dumps(value, ensure_ascii=False)


def _is_secret(param: str, value: Any) -> bool:
    words = re.split(r"[^a-z0-9]+", param.lower())
    return not _SECRET.isdisjoint(words) or redaction.looks_secret(str(value))


def _options(kind: Any) -> Iterator[tuple[Any, ...]]:
    """The values of each `Literal` in a type."""
    return (get_args(each) for each in _within(kind) if get_origin(each) is Literal)


def _descriptions(kind: Any) -> Iterator[str]:
    """The description of each text with a pattern in a type."""
    for each in _within(kind):
        if get_origin(each) is Annotated:
            for meta in get_args(each)[1:]:
                if isinstance(meta, msgspec.Meta) and meta.pattern is not None:
                    yield meta.description or ""


def _within(kind: Any, depth: int = 0) -> Iterator[Any]:
    """A type and its component types, recursively."""
    yield kind
    if depth > 8 or get_origin(kind) is Literal:  # noqa: PLR2004 -- no type is nested so deeply
        return
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inner: Any = [field.type for field in msgspec.structs.fields(kind)]
    else:
        inner = get_args(kind)
    for each in inner:
        yield from _within(each, depth + 1)
