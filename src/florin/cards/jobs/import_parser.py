"""Import parser: parse the records of an imported file strictly, and say what is wrong with them.

The first line names the columns, in any order. A message names the column, the value and what is
expected; it never repeats a code.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from florin.cards import codes
from florin.cards.jobs.card_fields import read_code, read_metadata, read_pin, read_recipient
from florin.cards.jobs.csv_records import SEPARATORS, NotCsv, Record, decode_record, split_fields
from florin.cards.jobs.import_columns import FIELDS, Column, match_columns
from florin.cards.jobs.import_values import (
    Amounts,
    CardState,
    Dates,
    LineRefused,
    may_be_secret,
    read_amount,
    read_expiry,
    read_state,
    shown_value,
)
from florin.cards.jobs.job import LineError
from florin.kit import ids
from florin.kit.currencies import minor_digits
from florin.kit.errors import InvalidRequest

COLUMNS = FIELDS
CHUNK = 1000  # records that are parsed and stored together
_EMPTY = "this row is empty; leave out rows without values"


class ImportRow(msgspec.Struct, array_like=True, frozen=True):
    """A card to be issued. Without a code it gets a random one."""

    line: int
    program: UUID
    amount: int
    code: str | None = None
    name: str | None = None
    email: str | None = None
    pin: str | None = None
    expires_at: datetime | None = None
    state: CardState = "active"
    metadata: dict[str, str] | None = None


class ImportPart(msgspec.Struct):
    """Records that were parsed together. `count`, `amount`: of all of them, for the control totals;
    `empty`: rows without any value, which are refused and not counted as cards; `western`: some are
    not UTF-8 and were read as Windows-1252; `shortest`: symbols of the shortest foreign code.
    """

    rows: list[ImportRow]
    errors: list[LineError]
    count: int
    amount: int
    empty: int = 0
    western: bool = False
    shortest: int | None = None


class ProgramFacts(msgspec.Struct, frozen=True):
    currency: str
    pin: bool
    min_amount: int
    max_amount: int
    denominations: tuple[int, ...]
    imported_codes: bool = False
    expires: bool = False


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of a file are written. `columns`: by name, the field that it is; `dates`: of
    dates such as 03/04/2027; `zone`: of the merchant, in which a day ends; `now`: its clock.
    """

    columns: Mapping[str, str] = {}
    amounts: Amounts = "minor"
    dates: Dates | None = None
    zone: str = "UTC"
    now: datetime = datetime.min.replace(tzinfo=UTC)


class ImportReader:
    """Parses the records of one file. `default` is the program of records without one."""

    def __init__(
        self,
        head: Record,
        separator: str,
        programs: Mapping[UUID, ProgramFacts],
        default: UUID | None,
        options: ImportOptions | None = None,
    ) -> None:
        """Parse the line of column names. Raises InvalidRequest."""
        self._options = options or ImportOptions()
        try:
            text, self.western = decode_record(head.text)
            names = [name.strip() for name in split_fields(text, separator)]
        except NotCsv as wrong:
            raise InvalidRequest(f"line {head.line}: {wrong}") from None
        harmless = {name for name in names if name.isprintable() and not may_be_secret(name)}
        self.columns = match_columns(
            names, self._options.columns, line=head.line, may_show=harmless
        )
        fields = [column.field for column in self.columns]
        if "amount" not in fields:
            raise InvalidRequest(
                f"line {head.line}: there is no column amount; say which one has the balance, with"
                " columns=amount:NAME",
                param="amount",
            )
        if "program" not in fields and default is None:
            raise InvalidRequest(
                "give the program in a column, or in the query parameter program", param="program"
            )
        self._separator = separator
        self._programs, self._default = programs, default
        self._zone = ZoneInfo(self._options.zone)

    def read(self, records: list[Record]) -> ImportPart:
        part = ImportPart(rows=[], errors=[], count=len(records), amount=0, western=self.western)
        for record in records:
            try:
                text, western = decode_record(record.text)
                part.western = part.western or western
                values = [field.strip() for field in split_fields(text, self._separator)]
                if not any(values):
                    part.empty += 1
                    part.count -= 1
                    part.errors.append(LineError(line=record.line, detail=_EMPTY))
                    continue
                fields = self._fields(values)
                part.amount += self._counted(fields)
                row = self._row(record.line, fields)
            except (NotCsv, LineRefused) as wrong:
                part.errors.append(LineError(line=record.line, detail=str(wrong)))
                continue
            part.rows.append(row)
            if row.code is not None and not codes.is_own(row.code):
                part.shortest = min(len(row.code), part.shortest or len(row.code))
        return part

    def _fields(self, values: list[str]) -> dict[str, str]:
        if len(values) != len(self.columns):
            raise LineRefused(
                f"there are {len(values)} fields, not {len(self.columns)}; a value that holds"
                f" {SEPARATORS[self._separator]} must be in quotation marks"
            )
        named = zip(self.columns, values, strict=True)
        return {column.field: value for column, value in named if column.field is not None}

    def _counted(self, fields: Mapping[str, str]) -> int:
        """The amount of a row for the control total, also when another field is wrong."""
        program = ids.parse_id("prg", fields.get("program") or "") or self._default
        facts = self._programs.get(program) if program is not None else None
        digits = minor_digits(facts.currency if facts else fields.get("currency", "").upper())
        try:
            return read_amount(fields["amount"], self._options.amounts, digits)
        except LineRefused:
            return 0

    def _row(self, line: int, fields: Mapping[str, str]) -> ImportRow:
        program, facts = self._program(fields)
        amount = read_amount(fields["amount"], self._options.amounts, minor_digits(facts.currency))
        if amount > facts.max_amount:
            raise LineRefused(
                f"amount: the program allows at most {facts.max_amount}, not {amount}"
            )
        state = read_state(fields["state"]) if fields.get("state") else "active"
        if state == "pending" and amount == 0:
            raise LineRefused("amount: a pending card needs the amount that it is activated with")
        recipient = read_recipient(fields)
        return ImportRow(
            line,
            program,
            amount,
            read_code(fields.get("code"), imported=facts.imported_codes),
            recipient.name,
            recipient.email,
            read_pin(fields.get("pin"), imported=facts.imported_codes),
            self._expires_at(fields.get("expires_at"), facts),
            state,
            read_metadata(fields),
        )

    def _program(self, fields: Mapping[str, str]) -> tuple[UUID, ProgramFacts]:
        text = fields.get("program")
        program = ids.parse_id("prg", text) if text else self._default
        facts = self._programs.get(program) if program is not None else None
        if program is None or facts is None:
            given = f" {shown_value(text)}" if text else ""
            raise LineRefused(f"program: there is no program{given}; give the id of one of yours")
        if fields.get("currency") and fields["currency"].upper() != facts.currency:
            given = shown_value(fields["currency"])
            raise LineRefused(
                f"currency: must be that of the program, {facts.currency}, not {given}"
            )
        return program, facts

    def _expires_at(self, text: str | None, facts: ProgramFacts) -> datetime | None:
        if not text:
            return None
        at = read_expiry(text, self._options.dates, self._zone, self._options.now)
        if at is None and facts.expires:
            raise LineRefused(
                "expires_at: cards of this program expire; import cards that never do into a"
                " program without expires_after_months"
            )
        return at


def file_columns(columns: list[Column]) -> tuple[dict[str, str], list[str]]:
    """The names that were used, by field, and those that were ignored."""
    used = {column.field: column.name for column in columns if column.field is not None}
    return used, [column.name for column in columns if column.field is None]
