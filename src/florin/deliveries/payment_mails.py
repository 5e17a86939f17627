"""Payment mails: receipt, refund, withdrawal and dispute, as their transactions recorded them.

What they say is in `data` of the delivery, so that a receipt names what was paid, also if the order
changes afterwards. Nothing in it names a person.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.deliveries.content import CardTile, MessageContent
from florin.deliveries.look import HOUSE, MerchantLook
from florin.deliveries.texts import text_of
from florin.kit.amounts import format_amount, format_instant, format_last_day, format_rate
from florin.kit.postgres.database import Row

About = Literal[
    "receipt",
    "refund",
    "withdrawal",
    "dispute.opened",
    "dispute.won",
    "dispute.lost",
    "dispute.closed",
]
_GATEWAYS = {"stripe": "Stripe", "paypal": "PayPal"}


class PaidItem(msgspec.Struct, kw_only=True):
    """An item of a receipt: `count` cards of `amount` each, or a top-up."""

    name: str
    amount: int
    count: int
    top_up: bool = False


class PaidVat(msgspec.Struct, kw_only=True):
    """What of a receipt's total is VAT at one rate, in hundredths of a percent."""

    rate: int
    vat: int


class PaymentNotice(msgspec.Struct, kw_only=True):
    """What a mail about money says. `test`: no real money moved. `provider`: who took the money.
    `from_cards`: a refund took value from cards. Of a dispute `cards` is how many it blocks. Of a
    withdrawal `amount` is what is refunded, and `at` when it was declared.
    """

    about: About
    order: UUID
    number: int
    amount: int
    currency: str
    provider: str
    test: bool
    items: list[PaidItem] = msgspec.field(default_factory=list[PaidItem])
    vat: list[PaidVat] = msgspec.field(default_factory=list[PaidVat])
    from_cards: bool = False
    kind: str = ""
    due_at: datetime | None = None
    cards: int = 0
    at: datetime | None = None


def read_notice(row: Row) -> PaymentNotice | None:
    """The notice of a delivery, if it is one."""
    if row["kind"] != "notice":
        return None
    return msgspec.json.decode(row["data"], type=PaymentNotice)


def compose_payment_mail(
    row: Row,
    notice: PaymentNotice,
    *,
    merchant: str,
    timezone: str,
    url: str | None,
    look: MerchantLook,
) -> MessageContent:
    """`url`: the page of the order, for its buyer, who reads the merchant's look."""
    locale: str = row["locale"]
    amount = format_amount(notice.amount, notice.currency, locale)
    values = {"merchant": merchant, "number": str(notice.number), "amount": amount}
    if notice.about == "receipt":
        paragraphs = _receipt(notice, locale, values)
    elif notice.about == "refund":
        paragraphs = [text_of(locale, "refund.intro", **values)]
        paragraphs += [text_of(locale, "refund.cards")] if notice.from_cards else []
        paragraphs.append(text_of(locale, "refund.when"))
    elif notice.about == "withdrawal":
        paragraphs = _withdrawal(notice, locale, values, timezone)
    else:
        paragraphs = _dispute(notice, locale, values, timezone)
    if notice.test:
        paragraphs.append(text_of(locale, "payment.test"))
    staff = notice.about.startswith("dispute")
    button = None if url is None or staff else (text_of(locale, "payment.button"), url)
    return MessageContent(
        locale=locale,
        sender="Florin" if staff else merchant,
        subject=text_of(locale, f"{notice.about}.subject", **values),
        preview=paragraphs[0],
        heading=text_of(locale, f"{notice.about}.heading", **values),
        tile=CardTile(
            amount=amount, title=text_of(locale, "payment.order", **values), validity=None
        ),
        button=button,
        paragraphs=tuple(paragraphs),
        footer=text_of(locale, "account.footer" if staff else "gift.footer", merchant=merchant),
        look=HOUSE if staff else look,
    )


def _receipt(notice: PaymentNotice, locale: str, values: dict[str, str]) -> list[str]:
    lines = [text_of(locale, "receipt.intro", **values)]
    for item in notice.items:
        each = format_amount(item.amount, notice.currency, locale)
        key = "receipt.top_up" if item.top_up else "receipt.item"
        lines.append(text_of(locale, key, count=str(item.count), name=item.name, each=each))
    gateway = _GATEWAYS.get(notice.provider)
    key = "receipt.total" if gateway is None else "receipt.total_by"
    lines.append(text_of(locale, key, gateway=gateway or "", **values))
    for each in notice.vat:
        vat = format_amount(each.vat, notice.currency, locale)
        rate = format_rate(each.rate, locale)
        lines.append(text_of(locale, "receipt.vat", rate=rate, vat=vat))
    return lines


def _withdrawal(
    notice: PaymentNotice, locale: str, values: dict[str, str], timezone: str
) -> list[str]:
    """What article 11a of Directive 2011/83/EU asks for: of what, at which date and time."""
    assert notice.at is not None
    at = format_instant(notice.at, timezone, locale)
    lines = [text_of(locale, "withdrawal.intro", at=at, **values)]
    if notice.amount == 0:
        return [*lines, text_of(locale, "withdrawal.nothing")]
    lines.append(text_of(locale, "withdrawal.refund", **values))
    return [*lines, text_of(locale, "refund.when")]


def _dispute(
    notice: PaymentNotice, locale: str, values: dict[str, str], timezone: str
) -> list[str]:
    if notice.about != "dispute.opened":
        return [text_of(locale, f"{notice.about}.intro", **values)]
    lines = [text_of(locale, f"dispute.{notice.kind}", **values)]
    lines.append(text_of(locale, "dispute.blocked", cards=str(notice.cards)))
    if notice.due_at is not None:
        day = format_last_day(notice.due_at, timezone, locale)
        lines.append(text_of(locale, "dispute.answer", day=day))
    return lines
