"""Comparison: which entries differ from the client's log."""

import pytest

from florin.gate.comparison import card_difference
from florin.gate.load_log import LoggedCard


@pytest.mark.parametrize(
    ("booked", "unknown", "entries", "says"),
    [
        ([100, -5, 3], [], [100, 3, -5], None),
        # What had no answer may be there or not.
        ([100], [-5], [100], None),
        ([100], [-5], [100, -5], None),
        ([100], [-5], [100, -5, -5], "not requested [-5]"),
        # A cent too many, an entry twice, one that is missing.
        ([100, -5], [], [100, -6], "missing [-5]; not requested [-6]"),
        ([100, -5], [], [100, -5, -5], "not requested [-5]"),
        ([100, -5], [], [100], "missing [-5]"),
        # Two faults that cancel each other out are two faults.
        ([100, -5, 5], [], [100, -6, 6], "missing [-5, 5]; not requested [-6, 6]"),
    ],
)
def test_every_entry_is_compared(
    booked: list[int], unknown: list[int], entries: list[int], says: str | None
) -> None:
    card = LoggedCard("crd_1", "code", booked=booked, unknown=unknown)
    found = card_difference(card, entries, sum(entries))
    assert (found is None) if says is None else (found is not None and says in found)


def test_the_balance_is_the_sum_of_the_entries() -> None:
    card = LoggedCard("crd_1", "code", booked=[100, -5])
    assert card_difference(card, [100, -5], 95) is None
    assert "its balance is 94" in str(card_difference(card, [100, -5], 94))
