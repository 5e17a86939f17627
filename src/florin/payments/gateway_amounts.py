"""Gateway amounts: the minor units that each gateway expects, next to those of ISO 4217.

Sources: Stripe's page on currencies and PayPal's list of currency codes. A conversion is exact or
refused: to the gateway and back is the identity.
"""

from florin.kit.minor_units import decimal_text, decimals
from florin.payments.gateway import CurrencyNotSupportedByGateway

# Sent to Stripe with two decimals although they have none; the amount ends in 00.
STRIPE_TIMES_100 = frozenset({"ISK", "UGX"})
# Three decimals, of which the last must be 0.
STRIPE_LAST_DIGIT_ZERO = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
STRIPE_CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD
    CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ
    GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR
    LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STN SZL THB TJS
    TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XOF XPF YER ZAR ZMW
    """.split()  # noqa: SIM905 -- a list of literals would take 130 lines
)
# Decimal text at PayPal; these without decimals although ISO gives them two.
PAYPAL_WHOLE = frozenset({"HUF", "TWD"})
PAYPAL_CURRENCIES = frozenset(
    """
    AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD
    """.split()  # noqa: SIM905 -- as above
)


def to_stripe(amount: int, currency: str) -> int:
    """An amount in ISO minor units as Stripe expects it. Raises CurrencyNotSupportedByGateway."""
    if currency not in STRIPE_CURRENCIES:
        raise CurrencyNotSupportedByGateway(f"Stripe does not take {currency}")
    if currency in STRIPE_LAST_DIGIT_ZERO and amount % 10:
        detail = f"Stripe takes {currency} in steps of 10, not {amount}"
        raise CurrencyNotSupportedByGateway(detail)
    return amount * 100 if currency in STRIPE_TIMES_100 else amount


def from_stripe(amount: int, currency: str) -> int:
    """The reverse of `to_stripe`. Raises ValueError for an amount that it never makes."""
    if currency not in STRIPE_TIMES_100:
        return amount
    if amount % 100:
        raise ValueError(f"{amount} {currency} is no whole amount")
    return amount // 100


def stripe_fee(amount: int, currency: str) -> int:
    """A fee that Stripe kept, in ISO minor units: rounded up where those are whole units."""
    return -(-amount // 100) if currency in STRIPE_TIMES_100 else amount


def to_paypal(amount: int, currency: str) -> str:
    """An amount in ISO minor units as PayPal's decimal text. Raises
    CurrencyNotSupportedByGateway.
    """
    if currency not in PAYPAL_CURRENCIES:
        raise CurrencyNotSupportedByGateway(f"PayPal does not take {currency}")
    if currency in PAYPAL_WHOLE:
        if amount % 100:
            detail = f"PayPal takes {currency} without decimals, not {amount}"
            raise CurrencyNotSupportedByGateway(detail)
        return str(amount // 100)
    return decimal_text(amount, currency)


def from_paypal(text: str, currency: str) -> int:
    """The reverse of `to_paypal`; also `"50.0"` and `"50"`. Raises ValueError."""
    whole, _, rest = text.partition(".")
    places = decimals(currency)
    if not (whole.removeprefix("-") + rest).isdecimal() or rest[places:].strip("0"):
        raise ValueError(f"{text[:40]} is no amount of {currency}")
    return int(whole + rest[:places].ljust(places, "0"))
