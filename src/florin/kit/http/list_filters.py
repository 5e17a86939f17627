"""List filters: the conditions of a list, each with its argument; newest first, cut at a cursor.

Only what is asked for stands in the statement, so that the database sees which index serves it. A
list is ordered by an instant and an id that never change, and its cursor is both of an object that
was seen: what is inserted or changed meanwhile moves nothing.
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

_SAYS = "Only what was created {} this instant (RFC 3339)."
Bounds = tuple[tuple[str, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedFilter:
    """`created[gte]` and its siblings, as they stand in the query."""

    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None

    def bounds(self) -> Bounds:
        """The comparisons asked for. Raises InvalidRequest."""
        asked = ((">", "gt", self.gt), (">=", "gte", self.gte), ("<", "lt", self.lt))
        return tuple(
            (sign, parse_instant(text, param=f"created[{name}]"))
            for sign, name, text in (*asked, ("<=", "lte", self.lte))
            if text is not None
        )


def created_filter(
    created_gt: Annotated[
        str | None, QueryParameter(name="created[gt]", description=_SAYS.format("after"))
    ] = None,
    created_gte: Annotated[
        str | None, QueryParameter(name="created[gte]", description=_SAYS.format("at or after"))
    ] = None,
    created_lt: Annotated[
        str | None, QueryParameter(name="created[lt]", description=_SAYS.format("before"))
    ] = None,
    created_lte: Annotated[
        str | None, QueryParameter(name="created[lte]", description=_SAYS.format("at or before"))
    ] = None,
) -> CreatedFilter:
    """Injected where a list is narrowed by time."""
    return CreatedFilter(gt=created_gt, gte=created_gte, lt=created_lt, lte=created_lte)


class Conditions:
    """What a row must fulfil. It begins with the arguments there are: `$1`, the merchant."""

    def __init__(self, arguments: list[object]) -> None:
        self.arguments = arguments
        self._clauses: list[str] = []

    def with_alias(self) -> "Conditions":
        """Further conditions, for another place of the same statement."""
        return Conditions(self.arguments)

    def bind(self, value: object) -> str:
        """Add an argument; what it is called in the statement."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def add(self, clause: str, *values: object) -> None:
        """A clause with a `{}` for each value."""
        self._clauses.append(clause.format(*(self.bind(value) for value in values)))

    def add_equal(self, column: str, value: object) -> None:
        """Nothing where no value is asked for."""
        if value is not None:
            self.add(f"{column} = {{}}", value)

    def add_bounds(self, column: str, bounds: Bounds) -> None:
        for sign, at in bounds:
            self.add(f"{column} {sign} {{}}", at)

    def __str__(self) -> str:
        return "".join(f" and {clause}" for clause in self._clauses)


def merge_branches(branches: Iterable[str], order: str, limit: str) -> str:
    """One list of several, each of them already in order: nothing is read beyond the page."""
    each = [f"({branch} order by {order} limit {limit})" for branch in branches]
    if len(each) == 1:
        return each[0][1:-1]
    return f"select * from ({' union all '.join(each)}) r order by {order} limit {limit}"  # noqa: S608


async def find_cursor(
    reads: Reader, sql: str, merchant: UUID, after: UUID | None, *more: object
) -> Row | None:
    """The row after which the page begins. Raises InvalidRequest when there is none."""
    if after is None:
        return None
    # One, not all: a row that a replica does not have yet is asked of the primary.
    row = await reads.one(sql, merchant, after, *more)
    if row is None:
        raise InvalidRequest("no object of this list has this id", param="starting_after")
    return row
