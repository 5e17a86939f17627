"""Import parser: parse the records of an imported file strictly, and say what is wrong with them.

The first line names the columns, in any order. A message names the column, the value and what is
expected; it never repeats a code.
"""

import re
from collections.abc import Mapping
from uuid import UUID

import msgspec

from florin.cards import codes
from florin.cards.card import Recipient
from florin.cards.jobs.csv_records import SEPARATORS, NotCsv, Record, parse_fields
from florin.cards.jobs.job import LineError
from florin.kit import ids
from florin.kit.email_address import Email
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import AMOUNT_MAX, Text
from florin.kit.http.explanations import explained, shown
from florin.kit.observability import redaction

COLUMNS = ("program", "amount", "code", "currency", "recipient_name", "recipient_email")
CHUNK = 1000  # records that are parsed and stored together
_EMPTY = "this row is empty; leave out rows without values"
_AMOUNT = re.compile(r"[0-9]{1,13}")
_SHORTENED = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]+")
_LINE_BREAK = re.compile(r"[ \t]*[\n\v\f\r\x85\u2028\u2029][\s]*")
_MAY_BE_CODE = re.compile(r"(?:[A-Za-z0-9][ _-]*){14,}")


class ImportRow(msgspec.Struct, array_like=True, frozen=True):
    """A card to be issued. Without a code it gets a random one."""

    line: int
    program: UUID
    amount: int
    code: str | None = None
    name: str | None = None
    email: str | None = None


class ImportPart(msgspec.Struct):
    """Records that were parsed together. `count`, `amount`: of all of them, for the control totals;
    `empty`: rows without any value, which are refused and not counted as cards.
    """

    rows: list[ImportRow]
    errors: list[LineError]
    count: int
    amount: int
    empty: int = 0


class ProgramFacts(msgspec.Struct, frozen=True):
    currency: str
    pin: bool
    min_amount: int
    max_amount: int
    denominations: tuple[int, ...]


class LineRefused(Exception):
    """A record that is refused; the message says why."""


class ImportReader:
    """Parses the records of one file. `default` is the program of records without one."""

    def __init__(
        self,
        head: Record,
        separator: str,
        programs: Mapping[UUID, ProgramFacts],
        default: UUID | None,
    ) -> None:
        """Parse the line of column names. Raises InvalidRequest."""
        try:
            names = [name.strip().lower() for name in parse_fields(head.text, separator)]
        except NotCsv as wrong:
            raise InvalidRequest(f"line {head.line}: {wrong}") from None
        for name in names:
            if name not in COLUMNS or names.count(name) > 1:
                known = ", ".join(COLUMNS)
                detail = (
                    f"line {head.line}: {_shown(name)} is no column or is named twice; the columns"
                    f" are {known}, separated by {', '.join(SEPARATORS.values())}"
                )
                may_show = name.isprintable() and not _may_be_secret(name)
                raise InvalidRequest(detail, param=name[:100] if may_show else None)
        if "amount" not in names:
            raise InvalidRequest(f"line {head.line}: there is no column amount", param="amount")
        if "program" not in names and default is None:
            raise InvalidRequest(
                "give the program in a column, or in the query parameter program", param="program"
            )
        self._names, self._separator = names, separator
        self._programs, self._default = programs, default

    def read(self, records: list[Record]) -> ImportPart:
        part = ImportPart(rows=[], errors=[], count=len(records), amount=0)
        for record in records:
            try:
                values = self._values(record)
                if not any(values):
                    part.empty += 1
                    part.count -= 1
                    part.errors.append(LineError(line=record.line, detail=_EMPTY))
                    continue
                fields = self._fields(values)
                part.amount += int(fields["amount"]) if _AMOUNT.fullmatch(fields["amount"]) else 0
                part.rows.append(self._row(record.line, fields))
            except (NotCsv, LineRefused) as wrong:
                part.errors.append(LineError(line=record.line, detail=str(wrong)))
        return part

    def _values(self, record: Record) -> list[str]:
        return [field.strip() for field in parse_fields(record.text, self._separator)]

    def _fields(self, values: list[str]) -> dict[str, str]:
        if len(values) != len(self._names):
            raise LineRefused(
                f"there are {len(values)} fields, not {len(self._names)}; a value that holds"
                f" {SEPARATORS[self._separator]} must be in quotation marks"
            )
        return dict(zip(self._names, values, strict=True))

    def _row(self, line: int, fields: Mapping[str, str]) -> ImportRow:
        amount = _amount(fields["amount"])
        program, facts = self._program(fields)
        _check_limits(amount, facts)
        code, recipient = _code(fields.get("code")), _recipient(fields)
        return ImportRow(line, program, amount, code, recipient.name, recipient.email)

    def _program(self, fields: Mapping[str, str]) -> tuple[UUID, ProgramFacts]:
        text = fields.get("program")
        program = ids.parse_id("prg", text) if text else self._default
        facts = self._programs.get(program) if program is not None else None
        if program is None or facts is None:
            given = f" {_shown(text)}" if text else ""
            raise LineRefused(f"program: there is no program{given}; give the id of one of yours")
        if fields.get("currency") and fields["currency"] != facts.currency:
            given = _shown(fields["currency"])
            raise LineRefused(
                f"currency: must be that of the program, {facts.currency}, not {given}"
            )
        return program, facts


def _amount(text: str) -> int:
    amount = int(text) if _AMOUNT.fullmatch(text) else 0
    if 1 <= amount <= AMOUNT_MAX:
        return amount
    if _SHORTENED.fullmatch(text):
        raise LineRefused(
            f"amount: a spreadsheet shortened this number to {_shown(text)}; format the column as"
            " text, so that all digits are in the file"
        )
    raise LineRefused(
        "amount: must be a whole number of the minor unit from 1 to 1000000000000, such as 2500 for"
        f" 25.00, not {_shown(text)}"
    )


def _check_limits(amount: int, facts: ProgramFacts) -> None:
    """Check the program's limits as they are now, when the file is accepted."""
    if not facts.min_amount <= amount <= facts.max_amount:
        limits = f"{facts.min_amount} to {facts.max_amount}"
        raise LineRefused(f"amount: the program allows {limits}, not {amount}")
    if facts.denominations and amount not in facts.denominations:
        raise LineRefused(f"amount: {amount} is not one of the program's denominations")


def _code(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return codes.read_code(text)
    except codes.CodeMalformed as malformed:
        if _SHORTENED.fullmatch(text):
            raise LineRefused(
                "code: a spreadsheet shortened this number; format the column as text, so that all"
                " digits are in the file"
            ) from None
        raise LineRefused(f"code: {malformed.detail}") from None


def _recipient(fields: Mapping[str, str]) -> Recipient:
    name = _LINE_BREAK.sub(" ", fields.get("recipient_name") or "") or None
    email = fields.get("recipient_email") or None
    try:
        return msgspec.convert({"name": name, "email": email}, Recipient)
    except msgspec.ValidationError as wrong:
        text, _, where = str(wrong).partition(" - at `$.")
        field = where.removesuffix("`")
        kind, value = {"name": (Text, name), "email": (Email, email)}[field]
        raise LineRefused(f"recipient_{field}: {explained(text, field, kind, value)}") from None


def _shown(text: str) -> str:
    """Format a value for a message; what may be a secret is not shown."""
    return "what is there" if _may_be_secret(text) else shown(text)


def _may_be_secret(text: str) -> bool:
    """Whether the value may be a code: in a wrong column, or in a file without column names."""
    is_id = text.startswith("prg_")
    return redaction.looks_secret(text) or (not is_id and _MAY_BE_CODE.fullmatch(text) is not None)
