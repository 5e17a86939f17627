"""Import values: amounts, dates and states as other systems write them.

Ambiguous ones are refused.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from florin.kit.http.body import AMOUNT_MAX
from florin.kit.http.explanations import shown
from florin.kit.observability import redaction

Amounts = Literal["minor", "decimal"]
Dates = Literal["dmy", "mdy"]
CardState = Literal["active", "pending", "blocked"]

SHORTENED = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]+")
_AMOUNT = re.compile(r"[0-9]{1,13}")
# A sign or abbreviation of the currency may stand before or after the number.
_SIGN = r"[^\w.,()+-]"
_DECIMAL = re.compile(
    rf"(?:[A-Za-z]{{1,3}}\$?|{_SIGN}{{0,2}})\s*"
    rf"([0-9][0-9.,' \u00a0\u202f]*)\s*(?:[A-Za-z]{{3}}|{_SIGN})?"
)
_MAY_BE_CODE = re.compile(r"(?:[A-Za-z0-9][ _-]*){14,}")
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DOTTED = re.compile(r"([0-9]{1,2})\.\s?([0-9]{1,2})\.\s?([0-9]{4})")
_SLASHED = re.compile(r"([0-9]{1,2})[/-]([0-9]{1,2})[/-]([0-9]{4})")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%Y/%m/%d")
_NEVER = frozenset({"never", "none", "no", "n/a", "-", "does not expire", "no expiry"})
_STATES: dict[str, CardState] = {
    **dict.fromkeys(("active", "enabled", "true", "yes", "1", "on", "activated", "sold", "open",
                     "used", "redeemed", "partially used", "partially redeemed", "issued", "valid"),
                    "active"),
    **dict.fromkeys(("pending", "inactive", "not activated", "unsold", "new", "unused stock",
                     "not active"), "pending"),
    **dict.fromkeys(("blocked", "disabled", "deactivated", "suspended", "false", "no", "0", "off",
                     "frozen"), "blocked"),
}  # fmt: skip
_ENDED = frozenset({"expired", "closed", "void", "voided", "cancelled", "canceled", "deleted"})
_GROUP = 3  # digits between separators of thousands
_DIGITS_MOST = 13


class LineRefused(Exception):
    """A record that is refused; the message says why."""


def shown_value(text: str) -> str:
    """Format a value for a message; what may be a secret is not shown."""
    return "what is there" if may_be_secret(text) else shown(text)


def may_be_secret(text: str) -> bool:
    """Whether the value may be a code: in a wrong column, or in a file without column names."""
    is_id = text.startswith("prg_")
    return redaction.looks_secret(text) or (not is_id and _MAY_BE_CODE.fullmatch(text) is not None)


def read_amount(text: str, amounts: Amounts, digits: int) -> int:
    """Return the minor units; zero is a card that was spent. `digits`: of the currency's minor
    unit. Raises LineRefused.
    """
    if SHORTENED.fullmatch(text):
        raise LineRefused(
            f"amount: a spreadsheet shortened this number to {shown_value(text)}; format the column"
            " as text, so that all digits are in the file"
        )
    amount = _minor(text) if amounts == "minor" else _decimal(text, digits)
    if amount is not None and amount <= AMOUNT_MAX:
        return amount
    if amounts == "decimal":
        example = f"25.{'0' * digits}" if digits else "25"
        raise LineRefused(
            f"amount: must be a number such as {example} with at most {digits} decimals, up to"
            f" 1000000000000 minor units, not {shown_value(text)}"
        )
    raise LineRefused(
        "amount: must be a whole number of the minor unit from 1 to 1000000000000, or 0, such as"
        f" 2500 for 25.00, not {shown_value(text)}; with amounts=decimal 25.00 is read"
    )


def _minor(text: str) -> int | None:
    return int(text) if _AMOUNT.fullmatch(text) else None


def _decimal(text: str, digits: int) -> int | None:
    """Read a number with a sign of its currency. Raises LineRefused if it may mean two numbers."""
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        return None
    number = re.sub(r"[' \u00a0\u202f]", "", match[1])
    separators = re.findall(r"[.,]", number)
    whole, rest = number, ""
    # The last separator is that of the decimals, unless it occurs again or there can be none.
    if separators and separators.count(separators[-1]) == 1 and digits:
        whole, _, rest = number.rpartition(separators[-1])
        if len(separators) == 1 and len(rest) == _GROUP != digits and len(whole) <= _GROUP:
            raise LineRefused(
                f"amount: {shown_value(text)} may be a number with three decimals, or a thousand"
                " and more; write it without separators of thousands"
            )
    groups = re.split(r"[.,]", whole)
    if any(len(group) != _GROUP for group in groups[1:]) or len(rest) > digits:
        return None
    joined = "".join(groups) + rest.ljust(digits, "0")
    return int(joined) if len(joined) <= _DIGITS_MOST else None


def read_expiry(text: str, dates: Dates | None, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return the instant at which a card expires: a date is the end of that day in `zone`. None:
    it never expires by the file. Raises LineRefused.
    """
    if text.lower() in _NEVER:
        return None
    try:
        at = _instant(text, dates, zone).astimezone(UTC)
    except OverflowError:
        raise LineRefused(f"expires_at: {shown_value(text)} is out of range") from None
    if at <= now:
        raise LineRefused(
            f"expires_at: {shown_value(text)} has passed; an expired card is not imported"
        )
    return at


def _instant(text: str, dates: Dates | None, zone: ZoneInfo) -> datetime:
    day: date | None = None
    if match := _ISO.fullmatch(text):
        day = _day(int(match[1]), int(match[2]), int(match[3]))
    elif match := _DOTTED.fullmatch(text):
        day = _day(int(match[3]), int(match[2]), int(match[1]))
    elif match := _SLASHED.fullmatch(text):
        day = _slashed(text, int(match[1]), int(match[2]), int(match[3]), dates)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            day = _named(text)
        else:
            return at if at.tzinfo is not None else at.replace(tzinfo=zone)
    if day is None:
        raise LineRefused(
            "expires_at: must be a date such as 2027-12-31 or 31.12.2027, or an instant such as"
            f" 2027-12-31T23:59:59Z, not {shown_value(text)}"
        )
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _slashed(text: str, first: int, second: int, year: int, dates: Dates | None) -> date | None:
    if dates is None and first != second and first <= 12 and second <= 12:  # noqa: PLR2004 -- months
        raise LineRefused(
            f"expires_at: {shown_value(text)} may be two days; say how dates are written, with"
            " dates=dmy or dates=mdy"
        )
    month_first = dates == "mdy" if dates is not None else second > 12  # noqa: PLR2004 -- months
    return _day(year, first, second) if month_first else _day(year, second, first)


def _named(text: str) -> date | None:
    for form in _NAMED:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    return None


def read_state(text: str) -> CardState:
    """Raises LineRefused."""
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    if words in _STATES:
        return _STATES[words]
    if words in _ENDED:
        raise LineRefused(
            f"state: a card that is {words} is not imported; leave the row out, or give a state"
        )
    raise LineRefused(f"state: must be active, pending or blocked, not {shown_value(text)}")
