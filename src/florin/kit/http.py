"""HTTP: reading requests strictly and answering refusals as problem documents (RFC 9457)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from florin.kit.errors import IdempotencyKeyRequired, InvalidRequest, Refusal

Body = TypeVar("Body")
Noun = TypeVar("Noun")

AMOUNT_MAX = 10**12
KEY_MAX = 255
METADATA_PAIRS_MAX = 50

Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="In the currency's minor unit.")]
SignedAmount = Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Currency = Annotated[
    str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217.", examples=["EUR"])
]
Text = Annotated[str, Meta(min_length=1, max_length=255)]
LongText = Annotated[str, Meta(min_length=1, max_length=1000)]
MetadataKey = Annotated[str, Meta(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Meta(max_length=METADATA_PAIRS_MAX, description="At most 50 pairs of strings."),
]

_AT = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `([^`]+)`")


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of request bodies: an unexpected field is refused."""


class Page(msgspec.Struct, Generic[Noun], kw_only=True):
    """A list, newest first."""

    object: str = "list"
    data: list[Noun]
    has_more: bool


def decode(decoder: "msgspec.json.Decoder[Body]", body: bytes) -> Body:
    """Read a body. Raises InvalidRequest naming the field to blame."""
    if b"\\u0000" in body:
        raise InvalidRequest("text must not contain the character U+0000")
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise invalid(error) from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None


def convert(kind: type[Body], value: object) -> Body:
    """The same for a part that was parsed before."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.MsgspecError as error:
        raise invalid(error) from None


def invalid(error: Exception) -> InvalidRequest:
    """Turn a decoding error into the refusal that names the field."""
    text = str(error)
    where = _AT.search(text)
    field = _FIELD.search(text)
    path = where.group(1).removeprefix("data.") if where else ""
    if field:
        path = f"{path}.{field.group(1)}" if path else field.group(1)
    if not isinstance(error, msgspec.ValidationError):
        return InvalidRequest(f"the body is not JSON: {text}")
    return InvalidRequest(_AT.sub("", text), param=path or None)


def idempotency_key(value: str | None, *, required: bool) -> str | None:
    """Check the Idempotency-Key header. Raises IdempotencyKeyRequired, InvalidRequest."""
    if value is None or value == "":
        if required:
            raise IdempotencyKeyRequired
        return None
    if len(value) > KEY_MAX or not value.isprintable():
        raise InvalidRequest(
            f"the key must be at most {KEY_MAX} printable characters", param="Idempotency-Key"
        )
    return value


def fingerprint(*parts: object) -> bytes:
    """SHA-256 over the parsed request: equal whatever its order and white space were."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).digest()


def problem(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """The document of a refusal."""
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
    if refusal.status == 401:  # noqa: PLR2004 -- RFC 9110 wants the challenge with this status
        headers["www-authenticate"] = "Bearer"
    return headers
