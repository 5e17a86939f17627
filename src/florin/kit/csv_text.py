"""CSV text: rows for spreadsheets. Text that they would run as a formula is neutralised."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime

# What a cell may begin with to be a formula, or to become one when a spreadsheet trims it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Cell = str | int | datetime | None


def csv_rows(rows: Iterable[Iterable[Cell]]) -> bytes:
    """Format rows as RFC 4180 in UTF-8. Text that begins like a formula gets an apostrophe before
    it; numbers are written as they are, and instants as RFC 3339.
    """
    out = io.StringIO(newline="")
    csv.writer(out).writerows([_cell(each) for each in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: Cell) -> str | int:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
