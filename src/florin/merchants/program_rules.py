"""Program rules: which values of a program do not fit together."""

import msgspec

from florin.kit.errors import InvalidRequest


def check_max_balance(highest: int, max_balance: int | None) -> None:
    """Raises InvalidRequest."""
    if max_balance is not None and max_balance < highest:
        raise InvalidRequest(
            f"max_balance {max_balance} is less than max_amount {highest}: a new card of"
            " max_amount would exceed it",
            param="max_balance",
        )


def check_for_sale(*, imported: bool, for_sale: bool | msgspec.UnsetType) -> None:
    """Raises InvalidRequest."""
    if imported and for_sale is True:
        raise InvalidRequest(
            "cards with codes of other systems are imported, not sold", param="for_sale"
        )


def check_amounts(lowest: int, highest: int, denominations: list[int] | None) -> list[int] | None:
    """The denominations in order, each once. Raises InvalidRequest."""
    if lowest > highest:
        raise InvalidRequest(
            f"min_amount {lowest} is more than max_amount {highest}", param="min_amount"
        )
    if denominations is None:
        return None
    for amount in denominations:
        if not lowest <= amount <= highest:
            raise InvalidRequest(
                f"{amount} is not between min_amount {lowest} and max_amount {highest}",
                param="denominations",
            )
    return sorted(set(denominations))
