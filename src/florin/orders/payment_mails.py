"""Payment mails: deliveries of receipts, refunds, withdrawals and disputes.

Each is written in the transaction of its cause, whose name is its key: one for each cause.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from babel import Locale, UnknownLocaleError
from msgspec import to_builtins

from florin.deliveries.delivery import NewDelivery, enqueue_deliveries
from florin.deliveries.payment_mails import About, PaidItem, PaidVat, PaymentNotice
from florin.kit.amounts import is_known_locale
from florin.kit.postgres.database import Row, Tx
from florin.merchants.vat import vat_of_items

# Of a bulk order, one line for all cards of an amount.
_ITEMS = """
select p.name, i.amount, sum(i.count)::integer as count, i.card is not null as top_up,
  i.vat_country, i.vat_rate
from florin.order_item i join florin.program p on p.merchant = i.merchant and p.id = i.program
where i.merchant = $1 and i.orders = $2
group by p.name, i.amount, i.card is not null, i.vat_country, i.vat_rate order by min(i.position)
"""
_REFUNDED = """
select o.id, o.number, o.buyer_email, o.locale, p.provider
from florin.payment p join florin.orders o on o.merchant = p.merchant and o.id = p.orders
where p.merchant = $1 and p.id = $2
"""
_WITHDRAWN = """
select o.number, o.buyer_email, o.locale, o.withdrawn_at, o.currency, p.provider,
  coalesce(r.amount, 0) as amount
from florin.orders o join florin.payment p on p.merchant = o.merchant and p.id = o.paid_by
left join florin.payment_refund r on r.merchant = o.merchant and r.id = $3
where o.merchant = $1 and o.id = $2
"""
_DISPUTED = """
select o.id, o.number, p.provider, d.amount, d.currency, d.kind, d.due_at,
  jsonb_array_length(d.cards) as cards, m.country
from florin.dispute d
join florin.payment p on p.merchant = d.merchant and p.id = d.payment
join florin.orders o on o.merchant = p.merchant and o.id = p.orders
join florin.merchant m on m.id = d.merchant
where d.merchant = $1 and d.id = $2
"""
# Who may refund, and who decides about a dispute. Those who only were invited have no password.
_STAFF = """
select id, email from florin.member
where merchant = $1 and role in ('owner', 'manager') and password_hash is not null order by id
"""


async def send_bulk_receipt_in(tx: Tx, order: Row, provider: str, *, test: bool) -> None:
    """The receipt of a paid bulk order, to its buyer."""
    rows = await tx.all(_ITEMS, order["merchant"], order["id"])
    await enqueue_deliveries(tx, receipts_of(order, rows, provider, test=test))


def receipts_of(
    order: Row, items: Sequence[Mapping[str, Any]], provider: str, *, test: bool
) -> list[NewDelivery]:
    """The receipt of a paid order, to its buyer; none if the address was erased. `items`: what was
    bought, as _ITEMS has it.
    """
    if order["buyer_email"] is None:
        return []
    notice = PaymentNotice(
        about="receipt",
        order=order["id"],
        number=order["number"],
        amount=order["amount"],
        currency=order["currency"],
        provider=provider,
        test=test,
        items=[
            PaidItem(
                name=item["name"],
                amount=item["amount"],
                count=item["count"],
                top_up=item["top_up"],
            )
            for item in items
        ],
        vat=[PaidVat(rate=each.rate, vat=each.vat) for each in vat_of_items(items)],
    )
    cause = f"receipt:{order['id'].hex}"
    return [
        _delivery(order["merchant"], cause, order["buyer_email"], notice, locale=order["locale"])
    ]


async def send_refund_mail_in(tx: Tx, refund: Row) -> None:
    """A refund that the gateway has made, to the buyer; from a row of `payment_refund`."""
    merchant = refund["merchant"]
    order = await tx.one(_REFUNDED, merchant, refund["payment"])
    if order is None or order["buyer_email"] is None:
        return
    notice = PaymentNotice(
        about="refund",
        order=order["id"],
        number=order["number"],
        amount=refund["amount"],
        currency=refund["currency"],
        provider=order["provider"],
        test=order["provider"] == "test",
        from_cards=refund["clawed"] > 0,
    )
    cause = f"refund:{refund['id'].hex}"
    new = _delivery(merchant, cause, order["buyer_email"], notice, locale=order["locale"])
    await enqueue_deliveries(tx, [new])


async def send_withdrawal_mail_in(tx: Tx, merchant: UUID, order: UUID, refund: UUID) -> None:
    """The confirmation of a withdrawal, to the buyer. `refund`: its id, if anything is refunded."""
    row = await tx.one(_WITHDRAWN, merchant, order, refund)
    if row is None or row["buyer_email"] is None:
        return
    notice = PaymentNotice(
        about="withdrawal",
        order=order,
        number=row["number"],
        amount=row["amount"],
        currency=row["currency"],
        provider=row["provider"],
        test=row["provider"] == "test",
        at=row["withdrawn_at"],
    )
    cause = f"withdrawal:{order.hex}"
    new = _delivery(merchant, cause, row["buyer_email"], notice, locale=row["locale"])
    await enqueue_deliveries(tx, [new])


async def send_dispute_mails_in(tx: Tx, merchant: UUID, dispute: UUID, about: About) -> None:
    """A dispute that began or ended, to the owners and managers of the merchant."""
    row = await tx.one(_DISPUTED, merchant, dispute)
    assert row is not None
    notice = PaymentNotice(
        about=about,
        order=row["id"],
        number=row["number"],
        amount=row["amount"],
        currency=row["currency"],
        provider=row["provider"],
        test=row["provider"] == "test",
        kind=row["kind"],
        due_at=row["due_at"],
        cards=row["cards"],
    )
    locale = _usual_locale(row["country"])
    new = [
        _delivery(
            merchant,
            f"{about}:{dispute.hex}:{member['id'].hex}",
            member["email"],
            notice,
            locale=locale,
            member=member["id"],
        )
        for member in await tx.all(_STAFF, merchant)
    ]
    await enqueue_deliveries(tx, new)


def _delivery(
    merchant: UUID,
    cause: str,
    address: str,
    notice: PaymentNotice,
    *,
    locale: str | None,
    member: UUID | None = None,
) -> NewDelivery:
    known = locale if locale is not None and is_known_locale(locale) else "en"
    return NewDelivery(
        merchant=merchant,
        cause=cause,
        kind="notice",
        channel="email",
        address=address,
        member=member,
        locale=known,
        data=to_builtins(notice),
    )


def _usual_locale(country: str) -> str:
    """The language that most people of a country read (CLDR, likely subtags), such as `de-AT`."""
    try:
        return str(Locale.parse(f"und_{country}")).replace("_", "-")
    except (UnknownLocaleError, ValueError):
        return "en"
