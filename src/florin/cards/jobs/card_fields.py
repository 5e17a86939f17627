"""Card fields: the code, PIN, recipient and metadata of one row of an imported file."""

import re
from collections.abc import Mapping

import msgspec

from florin.cards import codes, pins
from florin.cards.card import Recipient
from florin.cards.codes import CodeMalformed
from florin.cards.jobs.import_columns import METADATA
from florin.cards.jobs.import_values import SHORTENED, LineRefused
from florin.kit.email_address import Email
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import METADATA_PAIRS_MAX, Metadata, Text
from florin.kit.http.explanations import explained

_LINE_BREAK = re.compile(r"[ \t]*[\n\v\f\r\x85\u2028\u2029][\s]*")
_MASKED = re.compile(r"[*\u2022\u25cf\u2026xX]{3,}")


def read_code(text: str | None, *, imported: bool) -> str | None:
    if not text:
        return None
    try:
        return codes.read_any_code(text, imported=imported)
    except CodeMalformed as malformed:
        if SHORTENED.fullmatch(text):
            raise LineRefused(
                "code: a spreadsheet shortened this number; format the column as text, so that all"
                " digits are in the file"
            ) from None
        if _MASKED.search(text):
            raise LineRefused(
                "code: the export shows a part of the code only; ask its system for the whole codes"
            ) from None
        more = "" if imported else "; a program with imported_codes takes codes of other systems"
        raise LineRefused(f"code: {malformed.detail}{more}") from None


def read_pin(text: str | None, *, imported: bool) -> str | None:
    if not text:
        return None
    try:
        return pins.read_any(text, imported=imported)
    except InvalidRequest as wrong:
        raise LineRefused(f"pin: {wrong.detail}") from None


def read_recipient(fields: Mapping[str, str]) -> Recipient:
    name = _LINE_BREAK.sub(" ", fields.get("recipient_name") or "") or None
    email = fields.get("recipient_email") or None
    try:
        return msgspec.convert({"name": name, "email": email}, Recipient)
    except msgspec.ValidationError as wrong:
        text, _, where = str(wrong).partition(" - at `$.")
        field = where.removesuffix("`")
        kind, value = {"name": (Text, name), "email": (Email, email)}[field]
        raise LineRefused(f"recipient_{field}: {explained(text, field, kind, value)}") from None


def read_metadata(fields: Mapping[str, str]) -> dict[str, str] | None:
    found = {
        field.removeprefix(METADATA): _LINE_BREAK.sub(" ", value)
        for field, value in fields.items()
        if field.startswith(METADATA) and value
    }
    try:
        return msgspec.convert(found, Metadata) if found else None
    except msgspec.ValidationError as wrong:
        detail = str(wrong).partition(" - at ")[0]
        raise LineRefused(
            f"metadata: at most {METADATA_PAIRS_MAX} pairs of plain text, keys up to 40 and values"
            f" up to 500 characters ({detail})"
        ) from None
