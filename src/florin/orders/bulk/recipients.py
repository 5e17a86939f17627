"""Recipients: read the list of a bulk order, a CSV text with one line for each card."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from florin.cards.card import Recipient
from florin.cards.jobs.csv_records import NotCsv, RecordSplitter, parse_fields
from florin.cards.jobs.import_values import Amounts, LineRefused, read_amount
from florin.deliveries.channels.phone_number import NO_NUMBER, Phone, read_phone
from florin.kit import plain_text
from florin.kit.email_address import Email
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import LongText, Text
from florin.orders.order import RECIPIENTS_MAX

ERRORS_MAX = 100  # invalid lines that an answer names
_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("email", "e-mail", "recipient email", "email address"), "email"),
    **dict.fromkeys(("phone", "phone number", "recipient phone", "mobile"), "phone"),
    **dict.fromkeys(("name", "recipient", "recipient name"), "name"),
    **dict.fromkeys(("amount", "value"), "amount"),
    **dict.fromkeys(("message", "note"), "message"),
}
_WRONG = {
    "email": "email is not an e-mail address, such as ada@example.com",
    "phone": f"phone: {NO_NUMBER}",
    "name": "name is longer than 255 characters, or has control characters",
    "message": "message is longer than 1000 characters, or has line breaks",
}


class ListedRecipient(NamedTuple):
    """A line of the list. `amount` is in minor units."""

    line: int
    recipient: Recipient
    amount: int
    message: str | None


class _LineFields(msgspec.Struct, kw_only=True):
    email: Email | None = None
    phone: Phone | None = None
    name: Text | None = None
    message: LongText | None = None


class LineError(msgspec.Struct, kw_only=True):
    """An invalid line of a list."""

    line: int
    detail: str


class RecipientList(NamedTuple):
    """What was read. A list with errors is refused as a whole."""

    recipients: list[ListedRecipient]
    errors: list[LineError]


def read_recipients(
    text: str,
    *,
    amounts: Amounts,
    digits: int,
    amount: int | None,
    channel: Literal["email", "sms", "link"] = "email",
    country: str | None = None,
) -> RecipientList:
    """Read a list. Its first line names the columns: `email`, or `phone` for a delivery by SMS, and
    if needed `name`, `amount` and `message`. `amount`: of lines without one; `digits`: of the
    currency's minor unit; `country`: of numbers without `+`. Raises InvalidRequest where the list
    as a whole cannot be read.
    """
    splitter = RecordSplitter(_COLUMNS)
    records = [*splitter.feed(text.encode()), *splitter.end()]
    separator = splitter.separator or ","
    if not records:
        raise InvalidRequest("the list is empty", param="recipients")
    try:
        columns = _read_columns(parse_fields(records[0].text, separator), channel)
    except NotCsv as error:
        raise InvalidRequest(f"line 1: {error}", param="recipients") from None
    if len(records) - 1 > RECIPIENTS_MAX:
        raise InvalidRequest(
            f"a list has at most {RECIPIENTS_MAX} recipients, not {len(records) - 1}",
            param="recipients",
        )
    found = RecipientList([], [])
    for record in records[1:]:
        try:
            given = _read_fields(record.text, separator, columns)
            line = _line(given, "phone" if channel == "sms" else "email")
            found.recipients.append(
                ListedRecipient(
                    record.line,
                    Recipient(name=line.name, email=line.email, phone=_number(line, country)),
                    _amount(given, amounts, digits, amount),
                    line.message,
                )
            )
        except (LineRefused, NotCsv) as error:
            found.errors.append(LineError(line=record.line, detail=str(error)))
    if not found.recipients and not found.errors:
        raise InvalidRequest("the list has no recipients", param="recipients")
    return found


def refuse_list(errors: list[LineError]) -> InvalidRequest:
    """The refusal of a list with invalid lines."""
    shown = errors[:ERRORS_MAX]
    return InvalidRequest(
        f"{len(errors)} of the lines are invalid; nothing was ordered",
        param="recipients",
        extra={
            "errors": [
                {
                    "param": "recipients",
                    "line": each.line,
                    "detail": f"line {each.line}: {each.detail}",
                }
                for each in shown
            ]
        },
    )


def _read_fields(text: bytes, separator: str, columns: list[str | None]) -> dict[str, str]:
    """The fields of a line by their columns. Raises LineRefused, NotCsv."""
    fields = parse_fields(text, separator)
    if len(fields) != len(columns):
        raise LineRefused(f"{len(fields)} fields instead of {len(columns)}")
    return {
        column: field.strip()
        for column, field in zip(columns, fields, strict=True)
        if column is not None
    }


def _read_columns(names: list[str], channel: str) -> list[str | None]:
    """Raises InvalidRequest."""
    columns = [_COLUMNS.get(name.strip().lower()) for name in names]
    known = [column for column in columns if column is not None]
    for problem in _column_problems(names, columns, known, channel):
        raise InvalidRequest(f"line 1: {problem}", param="recipients")
    return columns


def _column_problems(
    names: list[str], columns: list[str | None], known: list[str], channel: str
) -> Iterator[str]:
    unknown = [name for name, column in zip(names, columns, strict=True) if column is None]
    expected = "email, phone, name, amount, message"
    needed = "phone" if channel == "sms" else "email"
    if "phone" in known and channel != "sms":
        yield (
            "numbers are kept only with a delivery by SMS: add deliver.channel "
            '"sms", or leave the column phone out'
        )
    if needed not in known:
        yield f"it must name the columns, with {needed} among them; it may have {expected}"
    if unknown:
        yield f"{unknown[0][:40]!r} is not a known column; they are {expected}"
    twice = [column for column in known if known.count(column) > 1]
    if twice:
        yield f"two columns are {twice[0]}"


def _line(given: Mapping[str, str], needed: Literal["email", "phone"]) -> _LineFields:
    """Raises LineRefused."""
    if not given[needed]:
        raise LineRefused(f"{needed} is missing")
    fields = ("email", "phone", "name", "message")
    named = {field: given[field] for field in fields if given.get(field)}
    try:
        return msgspec.convert(
            {field: plain_text.clean_text(text, len(text)) for field, text in named.items()},
            _LineFields,
        )
    except msgspec.ValidationError as error:
        field = str(error).rpartition("`$.")[2].rstrip("`")
        raise LineRefused(_WRONG.get(field, _WRONG["email"])) from None


def _number(line: _LineFields, country: str | None) -> str | msgspec.UnsetType:
    """The number in E.164. Raises LineRefused."""
    if line.phone is None:
        return msgspec.UNSET
    number = read_phone(line.phone, country)
    if number is None:
        raise LineRefused(_WRONG["phone"])
    return number


def _amount(given: Mapping[str, str], amounts: Amounts, digits: int, amount: int | None) -> int:
    """Raises LineRefused."""
    text = given.get("amount", "")
    if text:
        return read_amount(text, amounts, digits)
    if amount is None:
        raise LineRefused("amount is missing, and the order has none for all lines")
    return amount
