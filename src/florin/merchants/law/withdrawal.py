"""Withdrawal: until when the buyer of an order may take it back."""

from collections.abc import Collection
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from florin.merchants.law.country_rules import withdrawal_days

GRANTED_DAYS = 14  # by members, also where no law asks for it
_SATURDAY, _SUNDAY = 6, 7


def end_of_withdrawal(paid_at: datetime, zone: str, days: int) -> datetime:
    """The instant at which a period of days after a payment is over, in the merchant's zone.

    Regulation (EEC, Euratom) 1182/71, article 3: the day of the payment does not count, the period
    ends with its last day, and one that would end on a Saturday or Sunday ends with the next
    working day. Public holidays are not known here.
    """
    last = paid_at.astimezone(ZoneInfo(zone)).date() + timedelta(days=days)
    last += timedelta(days={_SATURDAY: 2, _SUNDAY: 1}.get(last.isoweekday(), 0))
    midnight = datetime.combine(last + timedelta(days=1), datetime.min.time())
    return midnight.replace(tzinfo=ZoneInfo(zone))


def withdrawal_by_law(
    paid_at: datetime | None, zone: str, places: Collection[str]
) -> datetime | None:
    """Until when the law of the places where cards are sold lets the buyer withdraw; None: it is
    not paid, or no law says so.
    """
    if paid_at is None:
        return None
    days = withdrawal_days(places, paid_at.astimezone(ZoneInfo(zone)).date())
    return None if days is None else end_of_withdrawal(paid_at, zone, days)
