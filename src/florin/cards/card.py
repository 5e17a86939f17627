"""Card: a gift card as the API shows it, and how it is read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec

from florin.deliveries.channels.phone_number import Phone
from florin.kit import ids
from florin.kit.email_address import Email
from florin.kit.http.body import Request, Text
from florin.kit.postgres.database import Reader
from florin.ledger.refusals import CardNotFound

State = Literal["pending", "active", "blocked", "expired", "closed"]


class Recipient(Request, kw_only=True):
    """The person whom the card is for. `phone`: for a delivery by SMS, with which alone it is kept;
    it is in the response that issues the card, and in the order that sells it.
    """

    name: Text | None = None
    email: Email | None = None
    # If unset, it is not part of the fingerprint, as before the field existed.
    phone: Phone | msgspec.UnsetType = msgspec.UNSET


class Card(msgspec.Struct, kw_only=True):
    """A gift card. Amounts are in minor units of `currency`; `available` is `balance` minus `held`.
    `code` and `pin` are present only in the response that created them, as are `delivery` and, for
    a delivery by `link`, the `url` of the card's page. `blocked` is independent of
    expiry: a card that was blocked before it expired is blocked when it is reinstated.
    """

    id: str
    object: Literal["card"] = "card"
    program: str
    state: State
    blocked: bool = False
    currency: str
    balance: int
    held: int
    available: int
    code: str | None = None
    pin: str | msgspec.UnsetType = msgspec.UNSET
    last4: str
    recipient: Recipient | None = None
    issued_at: datetime
    expires_at: datetime | None
    metadata: dict[str, str]
    reference: str | None = None
    created_at: datetime
    delivery: str | msgspec.UnsetType = msgspec.UNSET
    url: str | msgspec.UnsetType = msgspec.UNSET


# The card at this instant: a card past its expiry date reads as expired, and a hold past its own
# reserves nothing, before the job that records the expiry has run.
COLUMNS = """
  a.id, a.program, a.currency, a.balance, c.last4, c.recipient_name, c.recipient_email, c.metadata,
  c.reference,
  a.issued_at, a.expires_at,
  case when a.state in ('active', 'blocked')
      and a.expires_at <= statement_timestamp() + m.clock_offset
    then 'expired' else a.state end::text as state, a.blocked,
  case when a.held = 0 then 0 else a.held - coalesce((
    select sum(h.amount) from florin.hold h
    where h.merchant = a.merchant and h.card = a.id and h.state = 'open'
      and h.expires_at <= statement_timestamp() + m.clock_offset), 0) end::bigint as held
"""
JOINS = """
  join florin.card c on c.merchant = a.merchant and c.id = a.id
  join florin.merchant m on m.id = a.merchant
"""

_BY_ID = f"""
select {COLUMNS} from florin.account a {JOINS}
where a.merchant = $1 and a.id = $2
"""  # noqa: S608 -- our own text


def card_from_row(row: Mapping[str, Any], *, code: str | None = None) -> Card:
    recipient = None
    if row["recipient_name"] is not None or row["recipient_email"] is not None:
        recipient = Recipient(name=row["recipient_name"], email=row["recipient_email"])
    return Card(
        id=ids.show_id("crd", row["id"]),
        program=ids.show_id("prg", row["program"]),
        state=cast("State", row["state"]),
        blocked=row["blocked"],
        currency=row["currency"],
        balance=row["balance"],
        held=row["held"],
        available=row["balance"] - row["held"],
        code=code,
        last4=row["last4"],
        recipient=recipient,
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        reference=row["reference"],
        created_at=row["issued_at"],
    )


def parse_card_id(text: str, *, param: str | None = None) -> UUID:
    """Parse a card's public id. `param`: the field that has it, where the request has two cards.

    Raises CardNotFound.
    """
    uuid = ids.parse_id("crd", text)
    if uuid is None:
        raise CardNotFound(param=param)
    return uuid


async def find_card(database: Reader, merchant: UUID, card: UUID) -> Card:
    """Read one card. Raises CardNotFound."""
    row = await database.one(_BY_ID, merchant, card)
    if row is None:
        raise CardNotFound
    return card_from_row(row)
