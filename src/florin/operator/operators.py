"""Operators: who runs the installation: the merchants in the setting FLORIN_OPERATORS."""

from florin.identity.authentication import Caller
from florin.kit import ids
from florin.kit.settings import Settings


def is_operator(caller: Caller, settings: Settings) -> bool:
    """Whether the caller's merchant is named; outside production any is if none is named."""
    named = [each.strip() for each in settings.operators.split(",") if each.strip()]
    if "any" in named or (not named and settings.env != "production"):
        return True
    return ids.show_id("mer", caller.merchant) in named
