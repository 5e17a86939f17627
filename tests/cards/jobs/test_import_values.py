"""Import values: amounts, dates and states as other systems write them, and what is ambiguous."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from florin.cards.jobs.import_values import (
    Dates,
    LineRefused,
    read_amount,
    read_expiry,
    read_state,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "digits", "amount"),
    [
        ("25,00", 2, 2500), ("25.00", 2, 2500), ("$25.00", 2, 2500), ("US$ 3.20", 2, 320),
        ("1.234,56", 2, 123456), ("1,234.56", 2, 123456), ("1'234.50", 2, 123450),
        ("1 234,50", 2, 123450), ("1\u202f234,50 \u20ac", 2, 123450), ("\u20ac 25", 2, 2500),
        ("25.5", 2, 2550), ("1,234,567", 2, 123456700), ("25 EUR", 2, 2500), ("0.00", 2, 0),
        ("1.234", 3, 1234), ("1,000", 0, 1000), ("\u00a5500", 0, 500), ("5.", 2, 500),
    ],
)  # fmt: skip
def test_decimal_amounts_are_minor_units(text: str, digits: int, amount: int) -> None:
    assert read_amount(text, "decimal", digits) == amount


@pytest.mark.parametrize(
    "text",
    ["", "abc", "-5", "(5.00)", ".50", "12.34.56", "5.000,00,00", "25.0012", "1e3", "5 5 5 x",
     "99999999999999", "1.00.000", "10.00-"],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(LineRefused, match=r"^amount: "):
        read_amount(text, "decimal", 2)


@pytest.mark.parametrize("text", ["1,234", "1.234", "25.005"])
def test_an_amount_that_may_be_two_is_refused(text: str) -> None:
    with pytest.raises(LineRefused, match="may be a number with three decimals, or a thousand"):
        read_amount(text, "decimal", 2)


@pytest.mark.parametrize(
    ("text", "dates", "expected"),
    [
        ("2027-12-31", None, "2027-12-31T23:00:00Z"),
        ("2027-06-30", None, "2027-06-30T22:00:00Z"),
        ("31.12.2027", None, "2027-12-31T23:00:00Z"),
        ("12/31/2027", None, "2027-12-31T23:00:00Z"),
        ("31/12/2027", None, "2027-12-31T23:00:00Z"),
        ("03/04/2027", "dmy", "2027-04-03T22:00:00Z"),
        ("03/04/2027", "mdy", "2027-03-04T23:00:00Z"),
        ("05/05/2027", None, "2027-05-05T22:00:00Z"),
        ("December 31, 2027", None, "2027-12-31T23:00:00Z"),
        ("31 Dec 2027", None, "2027-12-31T23:00:00Z"),
        ("2027-12-31T10:00:00+01:00", None, "2027-12-31T09:00:00Z"),
        ("2027-12-31 10:00:00", None, "2027-12-31T09:00:00Z"),
    ],
)
def test_a_date_is_the_end_of_that_day_in_the_zone(
    text: str, dates: Dates | None, expected: str
) -> None:
    assert read_expiry(text, dates, BERLIN, NOW) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("text", "dates", "words"),
    [
        ("03/04/2027", None, "may be two days"),
        ("31/12/2027", "mdy", "must be a date"),
        ("2027-02-30", None, "must be a date"),
        ("soon", None, "must be a date"),
        ("2020-01-01", None, "has passed"),
        ("9999-12-31", None, "is out of range"),
        ("9999-12-31T23:00:00-05:00", None, "is out of range"),
    ],
)
def test_a_wrong_date_is_refused(text: str, dates: Dates | None, words: str) -> None:
    with pytest.raises(LineRefused, match=f"expires_at: .*{words}"):
        read_expiry(text, dates, BERLIN, NOW)


def test_states_of_other_systems() -> None:
    for text, state in (
        ("Active", "active"), ("TRUE", "active"), ("partially_redeemed", "active"),
        ("Not Activated", "pending"), ("Disabled", "blocked"), ("false", "blocked"),
    ):  # fmt: skip
        assert read_state(text) == state
    with pytest.raises(LineRefused, match="voided is not imported"):
        read_state("Voided")
    with pytest.raises(LineRefused, match='must be active, pending or blocked, not "odd"'):
        read_state("odd")
