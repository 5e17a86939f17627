"""Composing: the content of each kind of message, from the rows that it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from florin.deliveries.channels.pdf import Voucher
from florin.deliveries.content import Attachment, CardTile, MessageContent
from florin.deliveries.delivery import CAUSE_OF_ACCOUNT
from florin.deliveries.look import HOUSE, MerchantLook, read_looks
from florin.deliveries.notices.mails import compose_staff_mail, read_staff_notice
from florin.deliveries.payment_mails import PaymentNotice, compose_payment_mail, read_notice
from florin.deliveries.texts import text_of
from florin.kit.amounts import format_amount, format_last_day
from florin.kit.postgres.database import Row, Tx

_FACTS = """
select m.name as merchant_name, m.timezone, b.role, a.state::text as card_state, a.currency,
  a.balance, a.expires_at, c.recipient_name, c.last4,
  a.expires_at <= clock(m.id) as over,
  (select s.reason from florin.suppression s
    where s.merchant = m.id and s.address = w.address) as suppressed,
  t.used_at is not null or t.expires_at <= clock_timestamp() as token_over,
  o.id as orders, o.token_sealed as order_token, p.code_in_mail
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[])
  with ordinality as w (merchant, card, member, token, orders, address, n)
join florin.merchant m on m.id = w.merchant
left join florin.orders o on o.merchant = m.id and o.id = w.orders
left join florin.email_token t on t.merchant = m.id and t.id = w.token
left join florin.member b on b.merchant = m.id and b.id = w.member
left join florin.account a on a.merchant = m.id and a.id = w.card
left join florin.program p on p.merchant = m.id and p.id = a.program
left join florin.card c on c.merchant = m.id and c.id = w.card
order by w.n
"""
# The pages that take the tokens of account mails, by kind; a token is safe in a URL.
_PAGES = {
    "invitation": "/invite/",
    "password_reset": "/reset?token=",
    "email_verification": "/verify/",
}


class MessageFacts(msgspec.Struct, kw_only=True, frozen=True):
    """What a message is about, as it is now: its merchant, and the card, the member and the order,
    if any.
    """

    merchant_name: str
    timezone: str
    role: str | None
    card_state: str | None
    currency: str | None
    balance: int | None
    expires_at: datetime | None
    recipient_name: str | None
    last4: str | None
    over: bool | None
    token_over: bool | None
    orders: UUID | None
    order_token: bytes | None  # sealed, as the order has it
    suppressed: str | None  # why its address gets no gifts and reminders
    code_in_mail: bool | None  # whether a gift has the code itself
    look: MerchantLook = HOUSE

    def obstacle(self, kind: str) -> str | None:
        """Why a message of this kind must not be sent any more."""
        if self.token_over:
            return "the token that it brings was used or has expired"
        if self.card_state is None:
            return None
        if self.card_state != "active" or self.over:
            return f"the card is {'expired' if self.over else self.card_state}"
        if kind in {"gift", "reminder"} and self.balance == 0:
            return "the card is empty"  # a gift: its order was refunded before it was sent
        return None


async def find_message_facts(tx: Tx, rows: Sequence[Row]) -> list[MessageFacts]:
    """What the messages of rows of `delivery` are about, in their order."""
    if not rows:
        return []
    about = [_about(row) for row in rows]
    found = await tx.all(_FACTS, *(list(column) for column in zip(*about, strict=True)))
    assert len(found) == len(rows), "merchants are never deleted"
    dressed = {row["merchant"] for row in rows if _has_look(row)}
    looks = await read_looks(tx, dressed) if dressed else {}
    facts: list[MessageFacts] = []
    for row, each in zip(rows, found, strict=True):
        values: Mapping[str, Any] = each
        facts.append(
            MessageFacts(**values, look=looks[row["merchant"]] if _has_look(row) else HOUSE)
        )
    return facts


def _about(row: Row) -> tuple[Any, ...]:
    """The arrays' elements of _FACTS, in their order."""
    cause: str = row["cause"]
    token = (
        UUID(cause.removeprefix(CAUSE_OF_ACCOUNT)) if cause.startswith(CAUSE_OF_ACCOUNT) else None
    )
    notice = _notice(row)
    order = None if notice is None else notice.order
    return row["merchant"], row["card"], row["member"], token, order, row["address"]


def _notice(row: Row) -> PaymentNotice | None:
    return None if read_staff_notice(row) else read_notice(row)


def _has_look(row: Row) -> bool:
    return row["card"] is not None or _notice(row) is not None


def compose_message(
    row: Row,
    facts: MessageFacts,
    *,
    public_url: str,
    secret: str | None,
    voucher: Voucher | None = None,
    printed: bytes | None = None,
) -> MessageContent:
    """Compose the message of a delivery. `secret`: its token; `voucher`: the card with its code, if
    a gift has them; `printed`: the same as a PDF.
    """
    if row["kind"] == "gift":
        gift = _gift(row, facts, f"{public_url}/c/{secret}")
        return gift if voucher is None else _with_code(gift, voucher, printed)
    if row["kind"] == "reminder":
        return _reminder(row, facts)
    staff = read_staff_notice(row)
    if staff is not None:
        merchant = facts.merchant_name
        return compose_staff_mail(row, staff, merchant=merchant, public_url=public_url)
    notice = read_notice(row)
    if notice is not None:
        return compose_payment_mail(
            row,
            notice,
            merchant=facts.merchant_name,
            timezone=facts.timezone,
            url=None if secret is None else f"{public_url}/o/{secret}",
            look=facts.look,
        )
    return _account_mail(row, facts, f"{public_url}{_PAGES[row['kind']]}{secret}")


def compose_text_message(
    row: Row, facts: MessageFacts, *, public_url: str, secret: str | None
) -> str:
    """The text of a gift by SMS: the giver's words, who sends it, and the link, never the code."""
    assert facts.balance is not None
    assert facts.currency is not None
    amount = format_amount(facts.balance, facts.currency, row["locale"])
    text = text_of(row["locale"], "gift.text", amount=amount, merchant=facts.merchant_name)
    quote = [] if row["message"] is None else [row["message"]]
    return "\n".join([*quote, text, f"{public_url}/c/{secret}"])


def _gift(row: Row, facts: MessageFacts, url: str) -> MessageContent:
    locale, merchant = row["locale"], facts.merchant_name
    assert facts.balance is not None
    assert facts.currency is not None
    amount = format_amount(facts.balance, facts.currency, locale)
    validity = ""
    if facts.expires_at is not None:
        day = format_last_day(facts.expires_at, facts.timezone, locale)
        validity = text_of(locale, "valid_until", day=day)
    heading = text_of(locale, "gift.heading")
    if facts.recipient_name is not None:
        heading = text_of(locale, "gift.heading_name", name=facts.recipient_name)
    return MessageContent(
        locale=locale,
        sender=merchant,
        subject=text_of(locale, "gift.subject", amount=amount, merchant=merchant),
        preview=text_of(locale, "gift.preview", merchant=merchant, validity=validity),
        heading=heading,
        tile=CardTile(amount=amount, title=text_of(locale, "gift_card"), validity=validity or None),
        quote=row["message"],
        button=(text_of(locale, "gift.button"), url),
        paragraphs=(text_of(locale, "gift.page"),),
        footer=text_of(locale, "gift.footer", merchant=merchant),
        look=facts.look,
    )


def _with_code(gift: MessageContent, voucher: Voucher, printed: bytes | None) -> MessageContent:
    locale = gift.locale
    code = [text_of(locale, "gift.code"), voucher.code]
    if voucher.pin is not None:
        code.append(text_of(locale, "voucher.pin", pin=voucher.pin))
    paragraphs = [text_of(locale, "gift.keep")]
    attachment = None
    if printed is not None:
        paragraphs.append(text_of(locale, "gift.attached"))
        attachment = Attachment(name="voucher.pdf", content=printed)
    return replace(gift, code=tuple(code), paragraphs=tuple(paragraphs), attachment=attachment)


def _reminder(row: Row, facts: MessageFacts) -> MessageContent:
    locale, merchant = row["locale"], facts.merchant_name
    assert facts.balance is not None
    assert facts.currency is not None
    assert facts.expires_at is not None
    amount = format_amount(facts.balance, facts.currency, locale)
    day = format_last_day(facts.expires_at, facts.timezone, locale)
    values = {"amount": amount, "merchant": merchant, "day": day, "last4": facts.last4 or ""}
    intro = text_of(locale, "reminder.intro", **values)
    return MessageContent(
        locale=locale,
        sender=merchant,
        subject=text_of(locale, "reminder.subject", **values),
        preview=intro,
        heading=text_of(locale, "reminder.heading", **values),
        tile=CardTile(
            amount=amount,
            title=text_of(locale, "gift_card"),
            validity=text_of(locale, "valid_until", day=day),
        ),
        paragraphs=(intro, text_of(locale, "reminder.page", **values)),
        footer=text_of(locale, "gift.footer", merchant=merchant),
        look=facts.look,
    )


def _account_mail(row: Row, facts: MessageFacts, url: str) -> MessageContent:
    locale, kind = row["locale"], row["kind"]
    values = {
        "merchant": facts.merchant_name,
        "address": row["address"],
        "role": facts.role or "",
    }
    intro = text_of(locale, f"{kind}.intro", **values)
    return MessageContent(
        locale=locale,
        sender="Florin",
        subject=text_of(locale, f"{kind}.subject", **values),
        preview=intro,
        heading=text_of(locale, f"{kind}.heading", **values),
        button=(text_of(locale, f"{kind}.button"), url),
        paragraphs=(intro,),
        footer=text_of(locale, "account.footer"),
    )
