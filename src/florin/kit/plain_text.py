"""Plain text: the one rule for text that people write for people: names, references, reasons,
locations.

It reaches mail, headers, logs and CSV files, so it has no control characters and no line breaks. It
is kept in Unicode's NFC and without outer spaces, from the moment it is read: two spellings of a
name are one in a search, and in the fingerprint of a retry.

Metadata values are read by programs, in JSON alone; they keep their line breaks, tabs and spelling.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from florin.kit import email_address

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Outer spaces, a character that is seen, anything else. `$` alone lets a final line break pass.
PATTERN = rf"^[^\S{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$(?!\n)"
DESCRIPTION = "Text without line breaks or other control characters."
VALUE_PATTERN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$(?!\n)"
VALUE_DESCRIPTION = "Text without control characters but line breaks and tabs."


def clean_text(text: str, most: int) -> str:
    """The one spelling of a text that fits PATTERN, in at most `most` characters."""
    if text.isascii():
        return text.strip()
    normal = unicodedata.normalize("NFC", text).strip()
    # NFC makes a few characters longer. What would no longer fit is kept as it was given.
    return normal if len(normal) <= most else text


def clean_filter(text: str | None) -> str | None:
    """What a list is narrowed by, in the spelling in which it was kept."""
    return None if text is None else clean_text(text, len(text))


@cache
def text_fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, int], ...]:
    """The fields of plain text and of e-mail addresses, and how long each may be."""
    return tuple(
        (field.name, meta.max_length)
        for field in msgspec.structs.fields(kind)
        for meta in _metas(field.type)
        if meta.pattern in {PATTERN, email_address.PATTERN} and meta.max_length
    )


def _metas(kind: Any) -> Iterator[Meta]:
    """What describes the texts that a field may hold."""
    if get_origin(kind) is Annotated:
        yield from (each for each in get_args(kind)[1:] if isinstance(each, Meta))
    elif get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            yield from _metas(each)
