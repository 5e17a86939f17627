"""Page facts: what a card shows to its holder, on its page and on its voucher."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from florin.cards import codes
from florin.deliveries.card_links import CardLinks
from florin.deliveries.channels.pdf import Paper, Voucher, usual_paper
from florin.deliveries.look import MerchantLook, read_look
from florin.kit.amounts import format_amount, format_last_day
from florin.kit.postgres.database import Database

_FACTS = """
select m.name as merchant_name, m.timezone, m.country, p.name as program_name, a.currency, c.last4,
  c.recipient_name, a.code_hash, a.balance, a.face, a.partial, a.expires_at,
  a.balance - a.held + coalesce((select sum(h.amount) from florin.hold h
    where h.merchant = a.merchant and h.card = a.id and h.state = 'open'
      and h.expires_at <= clock($1)), 0)::bigint as available,
  (select max(h.expires_at) from florin.hold h where h.merchant = a.merchant and h.card = a.id
    and h.state = 'open' and h.expires_at > clock($1)) as held_until,
  case when a.state in ('active', 'blocked') and a.expires_at <= clock($1) then 'expired'
    else a.state::text end as state,
  (select d.locale from florin.delivery d where d.merchant = $1 and d.card = $2 and d.kind = 'gift'
    order by d.id desc limit 1) as locale,
  (select d.message from florin.delivery d where d.merchant = $1 and d.card = $2
    and d.kind = 'gift' order by d.id desc limit 1) as message
from florin.account a
join florin.card c on c.merchant = a.merchant and c.id = a.id
join florin.program p on p.merchant = a.merchant and p.id = a.program
join florin.merchant m on m.id = a.merchant
where a.merchant = $1 and a.id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPageFacts:
    """A card for its holder. `code`, 16 characters, and `pin`: None if the link's copy can not be
    read, or belongs to a code that was replaced. Amounts are in minor units; `face` is what the
    card was or will be activated with. `held_until`: when the last open hold ends.
    """

    merchant_id: UUID
    card: UUID
    merchant: str
    program: str
    timezone: str
    country: str
    locale: str
    message: str | None
    state: str
    currency: str
    face: int
    partial: bool
    balance: int
    available: int
    held_until: datetime | None
    last4: str
    recipient_name: str | None
    expires_at: datetime | None
    code: str | None
    pin: str | None


async def open_card_page(
    database: Database, links: CardLinks, peppers: Sequence[str], token: str
) -> CardPageFacts | None:
    """What the page of a token shows; None for a token that is unknown or revoked."""
    opened = await links.open(database, token)
    if opened is None:
        return None
    return await read_card_facts(database, opened.merchant, opened.card, opened.secret, peppers)


async def read_card_facts(
    database: Database, merchant: UUID, card: UUID, secret: str | None, peppers: Sequence[str]
) -> CardPageFacts:
    """What a card shows. `secret`: a copy of its code, followed by the PIN if it has one."""
    row = await database.one(_FACTS, merchant, card)
    assert row is not None, "cards are never deleted"
    if secret is not None and not _is_current(peppers, merchant, secret, row["code_hash"]):
        secret = None
    return CardPageFacts(
        merchant_id=merchant,
        card=card,
        merchant=row["merchant_name"],
        program=row["program_name"],
        timezone=row["timezone"],
        country=row["country"],
        locale=row["locale"] or "en",
        message=row["message"],
        state=row["state"],
        currency=row["currency"],
        face=row["face"],
        partial=row["partial"],
        balance=row["balance"],
        available=row["available"],
        held_until=row["held_until"],
        last4=row["last4"],
        recipient_name=row["recipient_name"],
        expires_at=row["expires_at"],
        code=None if secret is None else secret[: codes.LENGTH],
        pin=None if secret is None else secret[codes.LENGTH :] or None,
    )


def voucher_of(
    facts: CardPageFacts, look: MerchantLook, language: str | None = None
) -> Voucher | None:
    """The voucher of a card, in the language of its delivery or another one; None if it cannot be
    spent, or its code cannot be read.
    """
    locale = language or facts.locale
    if facts.code is None or facts.state != "active":
        return None
    last_day = None
    if facts.expires_at is not None:
        last_day = format_last_day(facts.expires_at, facts.timezone, locale)
    return Voucher(
        merchant=facts.merchant,
        locale=locale,
        amount=format_amount(facts.balance, facts.currency, locale),
        last_day=last_day,
        name=facts.recipient_name,
        message=facts.message,
        code=codes.show_code(facts.code),
        barcode=facts.code,
        pin=facts.pin,
        look=look,
    )


async def open_voucher(
    database: Database, links: CardLinks, peppers: Sequence[str], token: str
) -> tuple[Voucher, Paper] | None:
    """The voucher of a token's card, and the usual paper of its country; None as in voucher_of."""
    facts = await open_card_page(database, links, peppers, token)
    if facts is None:
        return None
    voucher = voucher_of(facts, await read_look(database, facts.merchant_id))
    return None if voucher is None else (voucher, usual_paper(facts.country))


def _is_current(peppers: Sequence[str], merchant: UUID, secret: str, code_hash: bytes) -> bool:
    code = secret[: codes.LENGTH]
    return any(codes.code_hash(pepper.encode(), merchant, code) == code_hash for pepper in peppers)
