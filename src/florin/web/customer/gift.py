"""Gift: what a customer asks for in a storefront, read from its form, and its sealed draft.

The page on which a customer pays holds the draft sealed: nothing in it can be changed, it is good
for one order, and it ends after two hours.
"""

import base64
import binascii
import secrets
import time
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from florin.cards.card import Recipient
from florin.cards.delivery_plan import DeliverRequest, plan_delivery
from florin.deliveries.channels.phone_number import read_local_phone
from florin.kit.email_address import is_email
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import LongText, Text
from florin.kit.postgres.database import Database
from florin.merchants.program import Program
from florin.orders.order import Buyer, OrderItemRequest, OrderRequest
from florin.web.formats import minor_units
from florin.web.forms import PageForm
from florin.web.pages import PageView

DRAFT_S = 2 * 3600
MESSAGE_MAX, NAME_MAX, PHONE_MAX = 400, 60, 32
WAYS = ("email", "sms", "print", "self")
SENT_WAYS = ("email", "sms")  # to someone, at a time that the customer may choose
_AHEAD_DAYS = 366
_OFFERED = (25, 50, 75, 100, 250)  # in whole units, as far as the program allows them


class Gift(msgspec.Struct, kw_only=True):
    """What was typed, as text, and the amount in minor units once it is valid."""

    program: str
    amount: str = ""
    sum: str = ""
    way: str = "email"
    to: str = ""
    to_email: str = ""
    to_phone: str = ""
    giver: str = ""
    message: str = ""
    when: str = "now"
    date: str = ""
    time: str = "08:00"
    zone: str = ""
    minor: int = 0


class Draft(msgspec.Struct, kw_only=True):
    """A checked gift on its way to payment. `key` makes one order of it, however often it is sent.
    `at`: Unix time.
    """

    key: str
    at: int
    gift: Gift


class DraftExpired(Exception):
    """The draft is older than two hours, or was not made here. `gift`: if it can be read."""

    def __init__(self, gift: Gift | None = None) -> None:
        super().__init__()
        self.gift = gift


def offered_amounts(program: Program, unit: int) -> list[int]:
    """The amounts that a storefront offers as buttons, in minor units."""
    if program.denominations is not None:
        return program.denominations
    fitting = [
        whole * unit
        for whole in _OFFERED
        if program.min_amount <= whole * unit <= program.max_amount
    ]
    return fitting[:4] or [program.min_amount]


def read_gift(form: PageForm, program: Program, zone: str, *, sms: bool) -> Gift:
    """What was typed; a message is one line, as everywhere (kit/plain_text.py). `sms`: whether
    cards can be sent by SMS.
    """
    offered = [way for way in WAYS if sms or way != "sms"]
    return Gift(
        program=program.id,
        amount=form.text("amount"),
        sum=form.text("sum")[:20],
        way=form.text("way") if form.text("way") in offered else "email",
        to=form.text("to")[:NAME_MAX],
        to_email=form.text("to_email")[:254],
        to_phone=form.text("to_phone")[:PHONE_MAX],
        giver=form.text("from")[:NAME_MAX],
        message=" ".join(form.text("message").split())[:MESSAGE_MAX],
        when="later" if form.text("when") == "later" else "now",
        date=form.text("date")[:10],
        time=form.text("time")[:5] or "08:00",
        zone=form.text("zone")[:64] or zone,
    )


async def check_gift(
    view: PageView, database: Database, merchant: UUID, program: Program, gift: Gift
) -> dict[str, str]:
    """What is wrong with a gift, by field; sets its amount."""
    errors: dict[str, str] = {}
    minor = _amount_of(gift, program)
    if minor is None:
        low = view.formats.plain(program.min_amount, program.currency)
        high = view.formats.plain(program.max_amount, program.currency)
        said = view.word("Choose an amount from %(low)s to %(high)s.")
        errors["sum" if gift.amount == "other" else "amount"] = said % {"low": low, "high": high}
    else:
        gift.minor = minor
    if gift.way == "email" and not is_email(gift.to_email):
        errors["to_email"] = view.word("Type a whole e-mail address, such as tomas@example.com.")
    if gift.way == "sms":
        errors |= await _check_phone(view, database, merchant, gift)
    for field, name in (("to", "to"), ("giver", "from"), ("message", "message")):
        try:
            msgspec.convert(getattr(gift, field) or "-", LongText if field == "message" else Text)
        except msgspec.ValidationError:
            errors[name] = view.word("It has a character that cannot be stored. Type it anew.")
    if gift.way in SENT_WAYS and gift.when == "later":
        errors |= await _check_time(view, database, merchant, gift)
    return errors


def order_request(gift: Gift, email: str, language: str) -> OrderRequest:
    """The order of a checked gift. Raises msgspec.ValidationError."""
    recipient = Recipient(
        name=gift.to or None,
        email=gift.to_email if gift.way == "email" else None,
        phone=gift.to_phone if gift.way == "sms" else msgspec.UNSET,
    )
    item = OrderItemRequest(
        program=gift.program,
        amount=gift.minor,
        recipient=recipient if gift.way != "self" and recipient != Recipient() else None,
        message=_message(gift),
        deliver=_deliver(gift, language),
    )
    request = OrderRequest(
        items=[item], buyer=Buyer(email=email, name=gift.giver or None), locale=language
    )
    return msgspec.convert(msgspec.to_builtins(request), OrderRequest)  # which checks its fields


def seal_draft(sealer: Sealer, merchant: UUID, gift: Gift) -> str:
    draft = Draft(key=f"shop-{secrets.token_urlsafe(18)}", at=int(time.time()), gift=gift)
    sealed = sealer.seal(msgspec.json.encode(draft).decode(), bound_to=_binding(merchant))
    return base64.urlsafe_b64encode(sealed).decode()


def open_draft(sealer: Sealer, merchant: UUID, text: str) -> Draft:
    """Raises DraftExpired."""
    try:
        sealed = base64.urlsafe_b64decode(text.encode("ascii"))
        draft = msgspec.json.decode(sealer.unseal(sealed, bound_to=_binding(merchant)), type=Draft)
    except (UnsealFailed, UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
        raise DraftExpired from None
    if time.time() - draft.at > DRAFT_S:
        raise DraftExpired(draft.gift)
    return draft


def _binding(merchant: UUID) -> bytes:
    return b"draft" + merchant.bytes


def _amount_of(gift: Gift, program: Program) -> int | None:
    """The amount in minor units, if the program allows it."""
    if gift.amount == "other":
        minor = minor_units(gift.sum, program.currency)
    else:
        minor = int(gift.amount) if gift.amount.isascii() and gift.amount.isdecimal() else None
    if minor is None or not program.min_amount <= minor <= program.max_amount:
        return None
    return minor if minor in (program.denominations or [minor]) else None


def _message(gift: Gift) -> str | None:
    if gift.way == "self":
        return None
    signed = gift.message
    if gift.message and gift.giver:
        signed = f"{gift.message} \N{EM DASH} {gift.giver}"
    return signed or None


def _deliver(gift: Gift, language: str) -> DeliverRequest | msgspec.UnsetType:
    if gift.way == "self":
        return msgspec.UNSET
    channels: dict[str, Literal["email", "sms", "link"]] = {
        "email": "email",
        "sms": "sms",
        "print": "link",
    }
    channel = channels[gift.way]
    if channel != "link" and gift.when == "later":
        at = f"{gift.date}T{gift.time}"
        return DeliverRequest(channel=channel, at=at, timezone=gift.zone, locale=language)
    return DeliverRequest(channel=channel, locale=language)


async def _check_phone(
    view: PageView, database: Database, merchant: UUID, gift: Gift
) -> dict[str, str]:
    """What is wrong with the number; sets it in E.164, in which it is shown before it is paid."""
    number = await read_local_phone(database, merchant, gift.to_phone)
    if number is None:
        return {"to_phone": view.word("Type a whole mobile number, such as +49 1512 3456789.")}
    gift.to_phone = number
    return {}


async def _check_time(
    view: PageView, database: Database, merchant: UUID, gift: Gift
) -> dict[str, str]:
    try:
        datetime.fromisoformat(f"{gift.date}T{gift.time}:00")
        request = DeliverRequest(channel="link", at=f"{gift.date}T{gift.time}", timezone=gift.zone)
        plan = await plan_delivery(database, merchant, request, None)
    except InvalidRequest as error:
        if error.param == "deliver.timezone":
            return {"zone": view.word("Choose a time zone from the list.")}
        return {"date": view.word("Choose a day and a time.")}
    except ValueError:
        return {"date": view.word("Choose a day and a time.")}
    row = await database.one(
        "select $2::timestamptz > clock($1) as ahead,"
        " $2::timestamptz < clock($1) + make_interval(days => $3) as soon",
        merchant,
        plan.due_at,
        _AHEAD_DAYS,
    )
    assert row is not None
    if not row["ahead"]:
        return {"date": view.word("This time is over where the recipient is. Choose a later one.")}
    if not row["soon"]:
        return {"date": view.word("Choose a day within the next twelve months.")}
    return {}
