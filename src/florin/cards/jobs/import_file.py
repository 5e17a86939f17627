"""Import file: what the caller says of a file, and what was found in it."""

import hashlib
from typing import Any

import msgspec

from florin.cards.jobs.import_columns import Column
from florin.cards.jobs.import_parser import ImportPart, file_columns
from florin.cards.jobs.import_values import Amounts, Dates
from florin.cards.jobs.job import ERRORS_MAX, ImportFile, LineError
from florin.kit.errors import InvalidRequest

_GUESSABLE = 12  # symbols: a shorter code is found by guessing among a million cards


class ControlTotals(msgspec.Struct, kw_only=True, frozen=True):
    """What the caller says is in the file; `program` is that of rows without one."""

    count: int | None = None
    amount: int | None = None
    program: str | None = None


class FileFormat(msgspec.Struct, kw_only=True, frozen=True):
    """How the caller says the file is written; see the route."""

    columns: str | None = None
    amounts: Amounts = "minor"
    dates: Dates | None = None

    def given(self) -> list[object]:
        """What is not the default, so that a request without it has the same fingerprint."""
        return [] if self == FileFormat() else [self.columns, self.amounts, self.dates]


class ParsedImport(msgspec.Struct):
    """The result of reading a file so far."""

    parts: int = 0
    count: int = 0
    empty: int = 0  # rows without values: refused, not counted as cards
    amount: int = 0
    refused: int = 0
    errors: list[LineError] = msgspec.field(default_factory=list[LineError])
    gives_codes: bool = False  # the job makes codes or PINs that must be downloaded
    digest: Any = msgspec.field(default_factory=hashlib.sha256)
    separator: str = ","
    columns: list[Column] = msgspec.field(default_factory=list[Column])
    encodings: list[str] = msgspec.field(default_factory=list[str])
    western: bool = False
    shortest: int | None = None

    def add(self, part: ImportPart) -> None:
        self.count += part.count
        self.amount += part.amount
        self.empty += part.empty
        self.refused += len(part.errors)
        self.errors += part.errors[: max(0, ERRORS_MAX - len(self.errors))]
        self.western = self.western or part.western
        if part.shortest is not None:
            self.shortest = min(part.shortest, self.shortest or part.shortest)

    def check(self, totals: ControlTotals) -> None:
        """Raises InvalidRequest if the control totals differ, or the file has no card."""
        if self.count == 0:
            raise InvalidRequest(
                "the file has no cards; give at least one row after the line of column names"
            )
        if totals.count is not None and totals.count != self.count:
            raise InvalidRequest(
                f"the file has {self.count} cards, not {totals.count}", param="count"
            )
        if totals.amount is not None and totals.amount != self.amount:
            detail = f"the amounts of the file add up to {self.amount}, not {totals.amount}"
            raise InvalidRequest(detail, param="amount")

    def file(self) -> ImportFile:
        columns, ignored = file_columns(self.columns)
        warnings: list[str] = []
        if self.shortest is not None and self.shortest < _GUESSABLE:
            warnings.append(
                f"The shortest imported code has {self.shortest} characters: such codes can be"
                " guessed. Wrong codes of this length count five times against the limits on"
                " guessing; rotate-code gives a card a safe one."
            )
        if self.western:
            warnings.append(
                "The file is not UTF-8 and was read as Windows-1252: check letters with accents."
            )
        return ImportFile(
            count=self.count,
            amount=self.amount,
            separator=self.separator,
            encoding="windows-1252"
            if self.western
            else ("utf-16" if "utf-16" in self.encodings else "utf-8"),
            columns=columns,
            ignored=ignored,
            warnings=warnings,
        )
