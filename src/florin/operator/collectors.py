"""Collectors: operators that collect for other merchants and pay them out."""

from uuid import UUID

from florin.kit import ids
from florin.kit.errors import Forbidden
from florin.kit.settings import Settings


def is_collector(settings: Settings, merchant: UUID) -> bool:
    """Whether a merchant collects for the others: it is named in FLORIN_OPERATORS. `any` names no
    one here, nor does an empty setting in development: money has one owner.
    """
    named = {each.strip() for each in settings.operators.split(",")}
    return ids.show_id("mer", merchant) in named


def require_collector(settings: Settings, merchant: UUID) -> None:
    """Raises Forbidden."""
    if not is_collector(settings, merchant):
        raise Forbidden("only a merchant that FLORIN_OPERATORS names pays others out")
