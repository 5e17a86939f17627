"""Amounts at gateways: exact, or refused before anything is sold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florin.kit.currencies import CURRENCIES
from florin.kit.minor_units import decimal_text, decimals
from florin.payments.gateway import CurrencyNotSupportedByGateway
from florin.payments.gateway_amounts import (
    PAYPAL_CURRENCIES,
    PAYPAL_WHOLE,
    STRIPE_CURRENCIES,
    STRIPE_LAST_DIGIT_ZERO,
    STRIPE_TIMES_100,
    from_paypal,
    from_stripe,
    to_paypal,
    to_stripe,
)

AMOUNTS = st.integers(1, 10**12)
ALL = st.sampled_from(sorted(CURRENCIES))


@given(ALL, AMOUNTS)
def test_there_and_back_is_the_same_or_refused(currency: str, amount: int) -> None:
    """R25, R26, R27, for every currency."""
    try:
        assert from_stripe(to_stripe(amount, currency), currency) == amount
    except CurrencyNotSupportedByGateway:
        assert currency not in STRIPE_CURRENCIES or amount % 10
    try:
        assert from_paypal(to_paypal(amount, currency), currency) == amount
    except CurrencyNotSupportedByGateway:
        assert currency not in PAYPAL_CURRENCIES or amount % 100


def test_known_amounts() -> None:
    assert to_stripe(5000, "EUR") == 5000
    assert to_stripe(5000, "JPY") == 5000
    assert to_stripe(5000, "ISK") == to_stripe(5000, "UGX") == 500000
    assert to_stripe(5000, "KWD") == 5000
    assert to_paypal(5000, "EUR") == "50.00"
    assert to_paypal(5000, "JPY") == "5000"
    assert to_paypal(5000, "HUF") == to_paypal(5000, "TWD") == "50"
    with pytest.raises(CurrencyNotSupportedByGateway):
        to_paypal(5050, "HUF")
    with pytest.raises(ValueError, match="no amount"):
        from_paypal("50.001", "EUR")
    for refused in ((5005, "KWD"), (1, "XYZ")):
        with pytest.raises(CurrencyNotSupportedByGateway):
            to_stripe(*refused)


def test_the_tables_are_of_known_currencies() -> None:
    assert STRIPE_CURRENCIES | PAYPAL_CURRENCIES <= CURRENCIES
    assert PAYPAL_WHOLE <= PAYPAL_CURRENCIES
    assert STRIPE_TIMES_100 | STRIPE_LAST_DIGIT_ZERO <= STRIPE_CURRENCIES
    assert all(decimals(each) == 0 for each in STRIPE_TIMES_100)
    assert all(decimals(each) == 3 for each in STRIPE_LAST_DIGIT_ZERO)


def test_decimal_text() -> None:
    assert decimal_text(1999, "EUR") == "19.99"
    assert decimal_text(5, "EUR") == "0.05"
    assert decimal_text(50, "JPY") == "50"
    assert decimal_text(1234, "KWD") == "1.234"
    assert decimal_text(-5, "EUR") == "-0.05"
