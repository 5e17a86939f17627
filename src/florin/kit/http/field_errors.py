"""Field errors: all invalid fields of a body, each with its path and the reason.

The decoder stops at the first invalid field and does not always give its exact path; the caller
gets all of them: `merchant.country`, `scopes[2]`, `metadata[order]`.
"""

import re
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from florin.kit.http.explanations import NOTHING, explained
from florin.kit.http.json_limits import ERRORS_MAX, NAME_MAX

_AT = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`\Z")
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
_by_name = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OWN_NAMES = "metadata"  # the field whose keys the caller chooses


def field_errors(kind: Any, body: bytes, within: str = "") -> list[dict[str, str]]:
    """Every invalid field of a body as `param` and `detail`."""
    shape = next(
        (each for each in _shapes(kind) if isinstance(each, type) and _is_struct(each)), None
    )
    if shape is None:
        return []
    try:
        given = _by_name.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    errors: list[dict[str, str]] = []
    for field in _fields(shape):
        name = field.encode_name
        value = given.pop(name, None)
        if value is not None:
            errors.extend(_value_errors(field.type, bytes(value), f"{within}{name}"))
        elif field.required:
            errors.append({"param": f"{within}{name}", "detail": "this field is required"})
    known = ", ".join(field.encode_name for field in _fields(shape))
    detail = f"unknown field; known fields: {known}" if known else "unknown field"
    errors.extend({"param": f"{within}{name}", "detail": detail} for name in given)
    return errors


def decoder_error(error: Exception, param: str, kind: Any, value: bytes) -> dict[str, str]:
    """The error of one field, from an exception of the decoder."""
    text = str(error)
    where = _AT.search(text)
    inner = where.group(1) if where else ""
    between = "." if param and inner and not inner.startswith("[") else ""
    name = f"{param}{between}{inner}"
    detail = explained(_AT.sub("", text), name, kind, _value_at(value, inner))
    return {"param": name, "detail": detail}


def _value_at(value: bytes, path: str) -> Any:
    """The value at a decoder's path, such as `.items[2]`; NOTHING if it is unknown."""
    try:
        inner = msgspec.json.decode(value)
        for name, index in _STEP.findall(path):
            inner = inner[int(index)] if index else inner[name]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return NOTHING
    return NOTHING if "..." in path else inner


def find_nul_field(body: bytes) -> str | None:
    """The first field whose text contains U+0000, which PostgreSQL cannot store."""
    try:
        return _with_nul(msgspec.json.decode(body), "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _with_nul(value: Any, param: str) -> str | None:
    if isinstance(value, str):
        return param if "\0" in value else None
    if isinstance(value, dict):
        for name, each in cast("dict[str, Any]", value).items():
            # Truncated here: a long name would be copied for each value below it.
            here = _below(param, name)[:NAME_MAX]
            if "\0" in name:
                return param or here
            if field := _with_nul(each, here):
                return field
    elif isinstance(value, list):
        for n, each in enumerate(cast("list[Any]", value)):
            if field := _with_nul(each, f"{param}[{n}]"):
                return field
    return None


def _below(param: str, name: str) -> str:
    if param.rpartition(".")[2] == _OWN_NAMES:
        return f"{param}[{name}]"
    return f"{param}.{name}" if param else name


def _value_errors(kind: Any, value: bytes, param: str) -> list[dict[str, str]]:
    """The errors in the value of one field; empty if it is valid."""
    try:
        _decoder(kind).decode(value)
    except msgspec.ValidationError as error:
        return (
            field_errors(kind, value, f"{param}.")
            or _pair_errors(kind, value, param)
            or [decoder_error(error, param, kind, value)]
        )
    return []


def _pair_errors(kind: Any, value: bytes, param: str) -> list[dict[str, str]]:
    """The errors in the pairs of an object whose keys the caller chooses."""
    pair = next((get_args(each) for each in _shapes(kind) if get_origin(each) is dict), None)
    if pair is None:
        return []
    try:
        given = _by_name.decode(value)
    except msgspec.MsgspecError:
        return []
    errors: list[dict[str, str]] = []
    for name, each in given.items():
        if len(errors) > ERRORS_MAX:
            break  # no more are named; to explain each of them costs most of all
        here = f"{param}[{name}]"
        try:
            msgspec.convert(name, type=pair[0])
        except msgspec.ValidationError as error:
            detail = explained(str(error), "", pair[0], name)
            errors.append({"param": here, "detail": f"its name {detail}"})
        errors.extend(_value_errors(pair[1], bytes(each), here))
    return errors


# Cached: a batch may have a thousand invalid items of the same type.
@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(shape)


@cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def _shapes(kind: Any) -> list[Any]:
    """The members of a union, without annotations."""
    if get_origin(kind) is Annotated:
        return _shapes(get_args(kind)[0])
    if get_origin(kind) in {Union, UnionType}:
        return [shape for each in get_args(kind) for shape in _shapes(each)]
    return [kind]


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)
