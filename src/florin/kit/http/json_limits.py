"""JSON limits: the largest shape that a body may have, counted before a parser sees it, and names
that are given twice.

Every count here is linear in the body: a parser, or a check of ours, that costs more than that for
some shape never meets a large one.
"""

import json

from florin.kit.errors import InvalidRequest

NAMES_MAX = 256  # of all objects of a body together; the largest right one has about 70
CONTAINERS_MAX = 64  # objects and lists, and so the deepest nesting as well
NAME_MAX = 100  # characters of a name from the body that a refusal repeats
ERRORS_MAX = 20  # mistakes that a refusal names


def check_shape(body: bytes) -> None:
    """Raises InvalidRequest for more names, or more objects and lists, than any body has."""
    if body.count(b":") <= NAMES_MAX and body.count(b"{") + body.count(b"[") <= CONTAINERS_MAX:
        return  # even if none of them stood inside of a text
    outside = _outside_of_texts(body)
    if outside.count(b":") > NAMES_MAX:
        raise InvalidRequest(f"the body has more than {NAMES_MAX} names")
    if outside.count(b"{") + outside.count(b"[") > CONTAINERS_MAX:
        raise InvalidRequest(f"the body has more than {CONTAINERS_MAX} objects and lists")


def check_names(text: str) -> None:
    """Refuse a name that is given twice: the next reader of the same body may take the other one.

    RFC 8259 4 leaves open which counts, and msgspec takes the last without a word. Raises
    InvalidRequest, JSONDecodeError, RecursionError.
    """
    _names.decode(text)


def _outside_of_texts(body: bytes) -> bytes:
    """What of a body stands outside of its texts. A run of backslashes is read in pairs."""
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(without_escapes.split(b'"')[::2])


def _once(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidRequest("this field is given more than once", param=name[:NAME_MAX])
        seen.add(name)


# Reads a body again for its names alone, in under two microseconds; numbers stay as they stand.
_names = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str)
