"""Formats: money, numbers and times as a reader of a language and a time zone writes them.

An amount is a whole number of minor units; the currency's own exponent (ISO 4217) says where the
decimal separator is. No float ever holds one.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import (
    format_date,
    format_datetime,
    format_time,
    format_timedelta,
    get_timezone_location,
)
from babel.numbers import (
    format_compact_currency,
    format_decimal,
    format_percent,
    get_currency_symbol,
    get_decimal_symbol,
    parse_pattern,
)
from markupsafe import Markup

from florin.kit.currencies import minor_digits

_TICK = timedelta(microseconds=1)
MINUS = "\N{MINUS SIGN}"
_TENTH_OF_PERCENT = Decimal("0.001")
_TYPED = re.compile(r"(\d{1,13})(?:[.,](\d{0,4}))?")
_GROUPED = re.compile(r"(?<=\d)[\s.,'\u2019](?=\d{3}(?:\D|\Z))")


def currency_exponent(currency: str) -> int:
    """How many decimal digits a currency has: 2 of EUR, 0 of JPY, 3 of KWD."""
    return minor_digits(currency)


def minor_units(typed: str, currency: str) -> int | None:
    """Read an amount as a person types it, with a point or a comma; None if it is not one.

    `25`, `25.5`, `25,50`, `1,250.00` and `1.250,00` are accepted; a digit beyond the currency's
    exponent is not.
    """
    exponent = currency_exponent(currency)
    text = typed.strip().replace("\N{NO-BREAK SPACE}", " ").strip("€$£¥ ")
    whole = text
    if len(re.findall(r"[.,]", text)) > 1 or " " in text or "'" in text:
        whole = _GROUPED.sub("", text)
    if exponent == 0:  # then each separator groups
        whole = _GROUPED.sub("", text)
    match = _TYPED.fullmatch(whole)
    if match is None or len(match[2] or "") > exponent:
        return None
    return int(match[1]) * 10**exponent + int((match[2] or "").ljust(exponent, "0") or 0)


class Formats:
    """The formats of one page: of its language, and of the time zone of its merchant."""

    def __init__(self, locale: Locale, zone: str = "UTC") -> None:
        self._locale = locale
        self._zone = ZoneInfo(zone)
        self.zone = zone

    def plain(self, minor: int, currency: str, *, sign: bool = False) -> str:
        """An amount as text, such as €1,250.00; `sign`: with a plus, too."""
        exponent = currency_exponent(currency)
        value = Decimal(abs(minor)).scaleb(-exponent)
        # All digits of the minor unit, also of currencies whose decimals a locale leaves out.
        shape = parse_pattern(self._locale.currency_formats["standard"].pattern)
        shape.frac_prec = (exponent, exponent)
        text = shape.apply(value, self._locale, currency=currency, currency_digits=False)
        return f"{MINUS if minor < 0 else '+' if sign and minor else ''}{text}"

    def face(self, minor: int, currency: str) -> str:
        """An amount as a card shows it: without decimals that are all zero, such as €50."""
        exponent = currency_exponent(currency)
        zeros = get_decimal_symbol(self._locale) + "0" * exponent
        text = self.plain(minor, currency)
        return text.replace(zeros, "", 1) if exponent and minor % 10**exponent == 0 else text

    def place(self, zone: str) -> str:
        """A time zone by a city in it, such as Lisbon."""
        return get_timezone_location(zone, locale=self._locale, return_city=True)

    def money(self, minor: int, currency: str, *, sign: bool = False) -> Markup:
        """An amount in a table or a sentence."""
        return Markup('<span class="money">{}</span>').format(
            self.plain(minor, currency, sign=sign)
        )

    def amount(self, minor: int, currency: str, css: str = "") -> Markup:
        """An amount as a figure of its own, with paler decimals."""
        text = self.plain(minor, currency)
        exponent = currency_exponent(currency)
        at = text.rfind(get_decimal_symbol(self._locale)) if exponent else -1
        start = Markup('<span class="amount {}">').format(css)
        if at < 0:
            return start + text + Markup("</span>")
        end = at + 1 + exponent
        real = " min--real" if minor % 10**exponent else ""
        decimals = Markup('<span class="min{}">{}</span>').format(real, text[at:end])
        return start + text[:at] + decimals + text[end:] + Markup("</span>")

    def typed(self, minor: int, currency: str) -> str:
        """An amount as a form field holds it, such as 1250.00."""
        return f"{Decimal(minor).scaleb(-currency_exponent(currency)):f}"

    def short(self, minor: int, currency: str) -> str:
        """An amount on the axis of a chart, such as €1.5K; exact for two leading digits."""
        value = Decimal(minor).scaleb(-currency_exponent(currency))
        if not minor:
            return "0"
        if abs(value) < 1:
            return self.plain(minor, currency)
        # One decimal: the lines of an axis are multiples of 1, 2 or 5 times a power of ten.
        return format_compact_currency(value, currency, locale=self._locale, fraction_digits=1)

    def exponent(self, currency: str) -> int:
        return currency_exponent(currency)

    def symbol(self, currency: str) -> str:
        return get_currency_symbol(currency, locale=self._locale)

    def rate(self, rate: int) -> str:
        """A rate in hundredths of a percent, such as 5.5%."""
        value = Decimal(rate).scaleb(-4)
        return format_percent(value, locale=self._locale, decimal_quantization=False)

    def share(self, part: int, whole: int) -> str:
        """A part in per cent, to a tenth; nothing of nothing is no share."""
        if not whole:
            return "\N{EM DASH}"
        share = (Decimal(part) / whole).quantize(_TENTH_OF_PERCENT)
        return format_percent(share, locale=self._locale, decimal_quantization=False)

    def number(self, value: int) -> str:
        return format_decimal(value, locale=self._locale)

    def day(self, at: datetime | str) -> str:
        """A day, such as 2 Nov 2031."""
        return format_date(self._local(at), "medium", locale=self._locale)

    def last_day(self, at: datetime | str) -> str:
        """The last day on which something is valid that ends at an instant."""
        return format_date(self._local(at) - _TICK, "medium", locale=self._locale)

    def long_day(self, at: datetime | str) -> str:
        """A day with its name, such as Sunday 2 November 2031."""
        return format_date(self._local(at), "full", locale=self._locale)

    def wall_day(self, local: str) -> str:
        """The day of a local time without offset, such as 2026-12-24T09:00, with its name."""
        return format_date(datetime.fromisoformat(local).date(), "full", locale=self._locale)

    def minute(self, at: datetime | str) -> str:
        """A day and a time."""
        return format_datetime(self._local(at), "medium", locale=self._locale).rpartition(":")[0]

    def hour(self, at: datetime | str) -> str:
        """A time of the day, such as 17:04."""
        return format_time(self._local(at), "short", locale=self._locale)

    def machine(self, at: datetime | str) -> str:
        """A time as a `datetime` attribute holds it."""
        return self._local(at).isoformat(timespec="seconds")

    def wall(self, at: datetime | str) -> str:
        """A local time without offset, such as 2026-12-24T09:00, as form fields hold it."""
        return self._local(at).replace(tzinfo=None).isoformat(timespec="minutes")

    def duration(self, seconds: int) -> str:
        """How long something has lasted, in its largest unit, such as 3 days."""
        return format_timedelta(timedelta(seconds=seconds), locale=self._locale)

    def month(self, at: datetime | str) -> str:
        return format_date(self._local(at), "MMM", locale=self._locale)

    def _local(self, at: datetime | str) -> datetime:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
        return moment.astimezone(self._zone)
