"""Body: strict parsing of request bodies, and refusals as problem documents (RFC 9457)."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta

from florin.kit import plain_text
from florin.kit.countries import COUNTRIES
from florin.kit.currencies import CURRENCIES
from florin.kit.errors import (
    IdempotencyKeyRequired,
    InvalidRequest,
    Refusal,
    UnsupportedEncoding,
)
from florin.kit.http.explanations import shown
from florin.kit.http.field_errors import decoder_error, field_errors, find_nul_field
from florin.kit.http.json_limits import ERRORS_MAX, NAME_MAX, check_names, check_shape

Body = TypeVar("Body")
Noun = TypeVar("Noun")

AMOUNT_MAX = 10**12
KEY_MAX = 255
METADATA_PAIRS_MAX = 50

NO_BODY = "This request needs a JSON body"
CURRENCY = "Three capital letters of ISO 4217, such as EUR."

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="In the currency's minor unit.")]
SignedAmount = Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Currency = Annotated[
    str, Meta(pattern="^[A-Z]{3}$", max_length=3, description=CURRENCY, examples=["EUR"])
]
_text_rule = partial(
    Meta, min_length=1, pattern=plain_text.PATTERN, description=plain_text.DESCRIPTION
)
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its UTC offset.")]
Text = Annotated[str, _text_rule(max_length=255)]
LongText = Annotated[str, _text_rule(max_length=1000)]
MetadataKey = Annotated[str, _text_rule(max_length=40)]
MetadataValue = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=plain_text.VALUE_PATTERN,
        description=plain_text.VALUE_DESCRIPTION,
    ),
]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Meta(max_length=METADATA_PAIRS_MAX, description="At most 50 pairs of strings."),
]

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_HEADER_SPACE = " \t"
_UNREADABLE = (msgspec.MsgspecError, json.JSONDecodeError, UnicodeDecodeError, RecursionError)
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of request bodies: an unexpected field is refused, plain text is cleaned."""

    def __post_init__(self) -> None:
        for name, most in plain_text.text_fields(type(self)):
            given = getattr(self, name)
            if isinstance(given, str):
                kept = plain_text.clean_text(given, most)
                if kept is not given:
                    setattr(self, name, kept)


class Page(msgspec.Struct, Generic[Noun], kw_only=True):
    """A list, newest first."""

    object: Literal["list"] = "list"
    data: list[Noun]
    has_more: bool


def decode_body(decoder: "msgspec.json.Decoder[Body]", body: bytes) -> Body:
    """Parse a JSON body. Raises UnsupportedEncoding, and InvalidRequest with the invalid field or
    fields.
    """
    body = _without_bom(body)
    check_shape(body)
    if b"\\u0000" in body and _NUL.search(body):
        field = (find_nul_field(body) or "")[:NAME_MAX] or None
        raise InvalidRequest("text must not contain the character U+0000", param=field)
    try:
        decoded = decoder.decode(body)
        check_names(body.decode())
    except _UNREADABLE as error:
        raise _refusal(error, decoder.type, body) from None
    return decoded


def decode_items(
    envelope: "msgspec.json.Decoder[Any]", body: bytes, *, name: str, most: int
) -> list[msgspec.Raw]:
    """Split a body that consists of one list, the field `name` with 1 to `most` items, into its
    items, undecoded: `decode_body` parses each with the limits of a whole body. Raises as
    `decode_body` does.
    """
    body = _without_bom(body)
    try:
        inside = bytes(getattr(envelope.decode(body), name))
        check_names(body.replace(inside, b"0").decode())
    except _UNREADABLE as error:
        raise _refusal(error, envelope.type, body) from None
    try:
        items = _items.decode(inside)
    except msgspec.ValidationError as error:
        raise invalid_request([decoder_error(error, name, list[msgspec.Raw], inside)]) from None
    if not 1 <= len(items) <= most:
        raise InvalidRequest(f"must have 1 to {most} items, not {len(items)}", param=name)
    return items


def _without_bom(body: bytes) -> bytes:
    """Remove a byte-order mark, which a parser may ignore (RFC 8259, 8.1). Raises
    UnsupportedEncoding for gzip.
    """
    if body.startswith(_GZIP):
        raise UnsupportedEncoding("the body is compressed with gzip; send it as plain UTF-8 JSON")
    return body.removeprefix(_BOM)


def _refusal(error: Exception, kind: Any, body: bytes) -> InvalidRequest:
    """The refusal for an exception of the JSON decoder."""
    if isinstance(error, msgspec.ValidationError):
        return invalid_request(field_errors(kind, body) or [decoder_error(error, "", kind, body)])
    if isinstance(error, RecursionError):
        return InvalidRequest("the body is nested too deeply")
    if not body:
        return InvalidRequest(NO_BODY)
    try:
        body.decode()
    except UnicodeDecodeError:
        return InvalidRequest("the body is not UTF-8; send JSON in UTF-8")
    return InvalidRequest(f"the body is not JSON: {error}")


def check_encoding(value: str) -> None:
    """Raises UnsupportedEncoding for any Content-Encoding but `identity`."""
    if value.strip().lower() not in {"", "identity"}:
        detail = f"Content-Encoding {value[:NAME_MAX]} is not supported; send the body uncompressed"
        raise UnsupportedEncoding(detail, param="Content-Encoding")


def invalid_request(errors: list[dict[str, str]]) -> InvalidRequest:
    """The refusal of one invalid field, or of several."""
    number = f"{len(errors)}" if len(errors) <= ERRORS_MAX else f"more than {ERRORS_MAX}"
    errors = [each | {"param": each["param"][:NAME_MAX]} for each in errors[:ERRORS_MAX]]
    if len(errors) == 1:
        return InvalidRequest(errors[0]["detail"], param=errors[0]["param"] or None)
    detail = f"{number} invalid fields: {', '.join(each['param'] for each in errors)}"
    return InvalidRequest(detail, extra={"errors": errors})


def check_currency(code: str, *, param: str) -> None:
    """Raises InvalidRequest for a code that is not in ISO 4217."""
    if code not in CURRENCIES:
        detail = f"{shown(code)} is not a currency of ISO 4217; give one such as EUR"
        raise InvalidRequest(detail, param=param)


def check_country(code: str, *, param: str) -> None:
    """Raises InvalidRequest for a code that is not in ISO 3166-1."""
    if code not in COUNTRIES:
        detail = f"{shown(code)} is not a country of ISO 3166-1; give two letters such as NL"
        raise InvalidRequest(detail, param=param)


def idempotency_key(
    value: str | None, *, required: bool, param: str = "Idempotency-Key"
) -> str | None:
    """Parse an idempotency key: of the header, or of the field `param` of a batch's item.

    Raises IdempotencyKeyRequired, InvalidRequest.
    """
    # HTTP strips spaces and tabs around a header's value (RFC 9110, 5.5), and a header has no
    # encoding beyond ASCII. The same rules in a body keep the key equal to that of a header.
    value = value.strip(_HEADER_SPACE) if value else None
    if not value:
        if required:
            raise IdempotencyKeyRequired(param=param)
        return None
    if len(value) > KEY_MAX or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(
            f"The idempotency key must be at most {KEY_MAX} printable ASCII characters", param=param
        )
    return value


def fingerprint(*parts: object) -> bytes:
    """SHA-256 of the parsed request, independent of the order of fields, of white space, and of
    whether an empty field was omitted, null, or an empty collection.
    """
    canonical = [_canonical(part) for part in parts]
    return hashlib.sha256(msgspec.json.encode(canonical, order="deterministic")).digest()


def _canonical(part: object) -> object:
    """A part with its empty fields set to None, the value of an omitted field."""
    if not isinstance(part, msgspec.Struct):
        return None if _empty(part) else part
    empty = {name: None for name, value in msgspec.structs.asdict(part).items() if _empty(value)}
    return msgspec.structs.replace(part, **empty) if empty else part


def _empty(value: object) -> bool:
    if isinstance(value, msgspec.Struct):
        return all(each in (None, UNSET) or _empty(each) for each in msgspec.structs.astuple(value))
    return isinstance(value, (dict, list)) and not value


def problem_document(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The problem document of a refusal (RFC 9457)."""
    body: dict[str, Any] = {
        "type": f"/api/v1/docs#{refusal.code}",
        "title": refusal.title(),
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "request_id": request_id,
    }
    if refusal.param is not None:
        body["param"] = refusal.param
    return body | refusal.extra


def problem_headers(refusal: Refusal) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if refusal.status == 401:  # noqa: PLR2004 -- RFC 9110, 15.5.2, requires the challenge
        headers["www-authenticate"] = "Bearer"
    if isinstance(refusal, UnsupportedEncoding):
        headers["accept-encoding"] = "identity"  # RFC 9110, 15.5.16: the supported encoding
    return headers
