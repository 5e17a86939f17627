"""JSON limits: limits on names and nesting of a body, checked before parsing, and duplicate names.

Every count is linear in the size of the body. The limits keep inputs small for parsers and checks
whose cost grows faster than linear.
"""

import json

from florin.kit.errors import InvalidRequest

NAMES_MAX = 256  # in all objects of a body; the largest valid one has about 70
CONTAINERS_MAX = 64  # objects and lists, and so the nesting depth
NAME_MAX = 100  # characters of a name from the body that a message repeats
ERRORS_MAX = 20  # invalid fields that a message names


def check_shape(body: bytes) -> None:
    """Raises InvalidRequest for more names, or more objects and lists, than any body has."""
    if body.count(b":") <= NAMES_MAX and body.count(b"{") + body.count(b"[") <= CONTAINERS_MAX:
        return  # cheap upper bound: it counts characters inside strings, too
    outside = _outside_strings(body)
    if outside.count(b":") > NAMES_MAX:
        raise InvalidRequest(f"The body has more than {NAMES_MAX} names")
    if outside.count(b"{") + outside.count(b"[") > CONTAINERS_MAX:
        raise InvalidRequest(f"The body has more than {CONTAINERS_MAX} objects and lists")


def check_names(text: str) -> None:
    """Refuse duplicate names: another parser of the same body may use the other value.

    RFC 8259, 4, does not define which value counts; msgspec silently uses the last. Raises
    InvalidRequest, JSONDecodeError, RecursionError.
    """
    _names.decode(text)


def _outside_strings(body: bytes) -> bytes:
    """A body without its strings. Backslashes are removed in pairs first."""
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(without_escapes.split(b'"')[::2])


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidRequest("this field is given more than once", param=name[:NAME_MAX])
        seen.add(name)


# Parses a body a second time for its names, in under two microseconds; numbers stay text.
_names = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=str, parse_float=str)
