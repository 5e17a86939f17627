"""Pagination: `limit` and `starting_after`, and the list that answers them."""

from collections.abc import Sequence
from typing import Annotated, TypeVar
from uuid import UUID

from litestar.params import Parameter

from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Page
from florin.kit.http.explanations import shown

Noun = TypeVar("Noun")

Limit = Annotated[int, Parameter(ge=1, le=100, description="How many, at most.")]
After = Annotated[
    str | None, Parameter(description="The id of the last object of the page before.")
]

_NOBODY = UUID(int=0)


class Pagination:
    """Reading the cursor and making the list."""

    @staticmethod
    def after(prefix: str, starting_after: str | None) -> UUID | None:
        """Raises InvalidRequest where no object can have this id."""
        if starting_after is None:
            return None
        uuid = ids.parse_id(prefix, starting_after)
        if uuid is None:
            detail = (
                f"give the id of an object of this list, {prefix}_…, not {shown(starting_after)}"
            )
            raise InvalidRequest(detail, param="starting_after")
        return uuid

    @staticmethod
    def only(prefix: str, text: str | None) -> UUID | None:
        """The object a list is narrowed to. Nothing is of one that does not exist, whatever its id
        looks like.
        """
        return None if text is None else ids.parse_id(prefix, text) or _NOBODY

    @staticmethod
    def of(found: Sequence[Noun], limit: int) -> Page[Noun]:
        """Make a page of `limit` from the `limit + 1` that were asked for."""
        return Page(data=list(found[:limit]), has_more=len(found) > limit)
