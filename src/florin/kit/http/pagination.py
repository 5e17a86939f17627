"""Pagination: the parameters `limit` and `starting_after`, and the page they return."""

from collections.abc import Sequence
from typing import Annotated, TypeVar
from uuid import UUID

from litestar.params import Parameter

from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import Page
from florin.kit.http.explanations import shown

Noun = TypeVar("Noun")

Limit = Annotated[int, Parameter(ge=1, le=100, description="The most objects in a page.")]
After = Annotated[
    str | None, Parameter(description="The id of the last object of the previous page.")
]

_NO_OBJECT = UUID(int=0)


class Pagination:
    """Parses the cursor and makes the page."""

    @staticmethod
    def after(prefix: str, starting_after: str | None) -> UUID | None:
        """Parse the cursor. Raises InvalidRequest if no object can have this id."""
        if starting_after is None:
            return None
        uuid = ids.parse_id(prefix, starting_after)
        if uuid is None:
            detail = (
                f"must be the id of an object of this list, {prefix}_…, not {shown(starting_after)}"
            )
            raise InvalidRequest(detail, param="starting_after")
        return uuid

    @staticmethod
    def only(prefix: str, text: str | None) -> UUID | None:
        """The id that filters a list; an invalid id matches nothing, as an unknown one does."""
        return None if text is None else ids.parse_id(prefix, text) or _NO_OBJECT

    @staticmethod
    def of(objects: Sequence[Noun], limit: int) -> Page[Noun]:
        """Make a page of `limit` objects from the `limit + 1` that were read."""
        return Page(data=list(objects[:limit]), has_more=len(objects) > limit)
