"""List filters: the SQL conditions of a list with their arguments; newest first, after a cursor.

A statement contains only the requested conditions, so that the planner can choose the matching
index. A list is ordered by an instant and an id that never change, and its cursor is the instant
and id of the last object returned: concurrent inserts and updates do not shift the pages.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from florin.kit.errors import InvalidRequest
from florin.kit.postgres.database import Reader, Row
from florin.kit.timestamps import parse_instant

_DESCRIPTION = "Only objects created {} this instant (RFC 3339)."
Bounds = tuple[tuple[str, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedFilter:
    """The query parameters `created[gt]`, `[gte]`, `[lt]`, `[lte]`, unparsed."""

    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None

    def bounds(self) -> Bounds:
        """The requested comparisons. Raises InvalidRequest."""
        filters = ((">", "gt", self.gt), (">=", "gte", self.gte), ("<", "lt", self.lt))
        return tuple(
            (sign, parse_instant(text, param=f"created[{name}]"))
            for sign, name, text in (*filters, ("<=", "lte", self.lte))
            if text is not None
        )


def created_filter(
    created_gt: Annotated[
        str | None, QueryParameter(name="created[gt]", description=_DESCRIPTION.format("after"))
    ] = None,
    created_gte: Annotated[
        str | None,
        QueryParameter(name="created[gte]", description=_DESCRIPTION.format("at or after")),
    ] = None,
    created_lt: Annotated[
        str | None, QueryParameter(name="created[lt]", description=_DESCRIPTION.format("before"))
    ] = None,
    created_lte: Annotated[
        str | None,
        QueryParameter(name="created[lte]", description=_DESCRIPTION.format("at or before")),
    ] = None,
) -> CreatedFilter:
    """The dependency of lists that can be filtered by time."""
    return CreatedFilter(gt=created_gt, gte=created_gte, lt=created_lt, lte=created_lte)


class Conditions:
    """The conditions of a statement; `arguments` starts with those in use: `$1`, the merchant."""

    def __init__(self, arguments: list[object]) -> None:
        self.arguments = arguments
        self._clauses: list[str] = []

    def with_alias(self) -> "Conditions":
        """Conditions for another part of the same statement, with shared arguments."""
        return Conditions(self.arguments)

    def bind(self, value: object) -> str:
        """Add an argument; return its placeholder, such as `$2`."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def add(self, clause: str, *values: object) -> None:
        """Add a clause with one `{}` per value."""
        self._clauses.append(clause.format(*(self.bind(value) for value in values)))

    def add_equal(self, column: str, value: object) -> None:
        """Add `column = value`; nothing if the value is None."""
        if value is not None:
            self.add(f"{column} = {{}}", value)

    def add_bounds(self, column: str, bounds: Bounds) -> None:
        for sign, at in bounds:
            self.add(f"{column} {sign} {{}}", at)

    def __str__(self) -> str:
        return "".join(f" and {clause}" for clause in self._clauses)


def merge_branches(branches: Iterable[str], order: str, limit: str) -> str:
    """Merge ordered queries into one list, each limited: no query reads more than a page."""
    each = [f"({branch} order by {order} limit {limit})" for branch in branches]
    if len(each) == 1:
        return each[0][1:-1]
    return f"select * from ({' union all '.join(each)}) r order by {order} limit {limit}"  # noqa: S608


async def find_cursor(
    reads: Reader, sql: str, merchant: UUID, after: UUID | None, *more: object
) -> Row | None:
    """The row of the cursor, after which the page begins. Raises InvalidRequest if none exists."""
    if after is None:
        return None
    # `one`, not `all`: if a replica does not have the row yet, `one` reads it from the primary.
    row = await reads.one(sql, merchant, after, *more)
    if row is None:
        raise InvalidRequest("No object of this list has this id", param="starting_after")
    return row
