"""Amounts: money and dates as a reader of a language writes them."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_percent, get_currency_precision

DEFAULT_LOCALE = "en"
# Digits after the point of the minor unit (ISO 4217); the others have two.
_DIGITS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def minor_digits(currency: str) -> int:
    """How many decimal digits the minor unit of a currency of ISO 4217 has: 0, 2, 3 or 4."""
    return _DIGITS.get(currency, 2)


def is_known_locale(tag: str) -> bool:
    """Whether amounts and dates can be written for a language tag, such as `de` or `pt-BR`."""
    try:
        Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        return False
    return True


def format_amount(amount: int, currency: str, locale: str) -> str:
    """Format an amount in minor units for a known locale, such as `€50.00` or `50,00 €`."""
    digits = minor_digits(currency)
    value = Decimal(amount).scaleb(-digits)
    usual = get_currency_precision(currency) == digits
    return format_currency(
        value, currency, locale=_locale(locale), currency_digits=usual, decimal_quantization=usual
    )


def format_rate(rate: int, locale: str) -> str:
    """Format a rate in hundredths of a percent for a known locale, such as `5.5%` or `5,5 %`."""
    return format_percent(
        Decimal(rate).scaleb(-4), locale=_locale(locale), decimal_quantization=False
    )


def format_last_day(expires_at: datetime, zone: str, locale: str) -> str:
    """The last day before an instant, in a time zone, such as `29 November 2031`."""
    last = (expires_at - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
    return format_date(last.date(), "long", locale=_locale(locale))


def format_instant(at: datetime, zone: str, locale: str) -> str:
    """A date and time in a time zone, which is named: `30 November 2031 at 14:05:00 CET`."""
    return format_datetime(at, "long", tzinfo=ZoneInfo(zone), locale=_locale(locale))


def _locale(tag: str) -> Locale:
    return Locale.parse(tag, sep="-")
