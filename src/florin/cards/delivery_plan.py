"""Delivery plan: what was asked for with a card, checked before the card is issued."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.cards.card import Recipient
from florin.deliveries.channels.phone_number import NO_NUMBER, read_local_phone
from florin.deliveries.delivery import local_instant
from florin.kit.amounts import DEFAULT_LOCALE, is_known_locale
from florin.kit.email_address import normalized
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import LongText, Request, Text
from florin.kit.postgres.database import Database
from florin.kit.time_zones import is_known_zone

LOCAL_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$"


class DeliverRequest(Request, kw_only=True):
    """Deliver the card. `email` and `sms` go to `email` and `phone` of the recipient; `link` makes
    the address of the card's page, which is in this response. `at`: a local time such as
    `2026-12-24T09:00` in `timezone`, by default the merchant's; without it, now. `message`: from
    the giver. `locale`: the language, with the form of amounts and dates.
    """

    channel: Literal["email", "sms", "link"]
    at: (
        Annotated[
            str,
            Meta(
                pattern=LOCAL_PATTERN,
                max_length=16,
                description="A local time without offset.",
                examples=["2026-12-24T09:00"],
            ),
        ]
        | None
    ) = None
    timezone: Text | None = None
    message: LongText | None = None
    locale: Annotated[
        str, Meta(min_length=2, max_length=35, description="A language tag.", examples=["de"])
    ] = DEFAULT_LOCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """A delivery that was asked for with a card, checked."""

    channel: Literal["email", "sms", "link"]
    address: str | None
    due_at: datetime | None
    local_time: datetime | None
    timezone: str | None
    message: str | None
    locale: str


class DeliverableRequest(Protocol):
    """The request for a card, as far as its delivery needs it."""

    @property
    def activate(self) -> bool: ...

    @property
    def recipient(self) -> Recipient | None: ...

    @property
    def deliver(self) -> DeliverRequest | msgspec.UnsetType: ...


async def plan_request(
    database: Database, merchant: UUID, request: DeliverableRequest, *, sms: bool
) -> DeliveryPlan | None:
    """The delivery that was asked for with a card; None: none. `sms`: whether this installation
    sends messages by SMS. Raises InvalidRequest.
    """
    if request.deliver is msgspec.UNSET or request.deliver.channel != "sms":
        refuse_phone(request.recipient)
    if request.deliver is msgspec.UNSET:
        return None
    if not request.activate:
        detail = "a pending card cannot be delivered; issue it active"
        raise InvalidRequest(detail, param="deliver")
    return await plan_delivery(database, merchant, request.deliver, request.recipient, sms=sms)


def refuse_phone(recipient: Recipient | None) -> None:
    """Where a number would be dropped. Raises InvalidRequest."""
    if recipient is not None and recipient.phone is not msgspec.UNSET:
        detail = (
            'a number is kept only with a delivery by SMS: add deliver.channel "sms" or omit it'
        )
        raise InvalidRequest(detail, param="recipient.phone")


async def plan_delivery(
    database: Database,
    merchant: UUID,
    request: DeliverRequest,
    recipient: Recipient | None,
    *,
    sms: bool = False,
) -> DeliveryPlan:
    """Check a delivery. Raises InvalidRequest."""
    address = None
    if request.channel == "sms":
        if not sms:
            detail = "cards are not delivered by SMS here; choose email or link"
            raise InvalidRequest(detail, param="deliver.channel")
        address = await _mobile_number(database, merchant, recipient)
    if request.channel == "email":
        if recipient is None or recipient.email is None:
            raise InvalidRequest(
                "a delivery by e-mail needs the address of the recipient", param="recipient.email"
            )
        address = normalized(recipient.email)
    if not is_known_locale(request.locale):
        raise InvalidRequest(
            f"{request.locale} is not a known language tag; give one such as en or pt-BR",
            param="deliver.locale",
        )
    local, due_at, zone = None, None, None
    if request.at is not None:
        local, zone, due_at = await _due_at(database, merchant, request.at, request.timezone)
    return DeliveryPlan(
        channel=request.channel,
        address=address,
        due_at=due_at,
        local_time=local,
        timezone=zone,
        message=request.message,
        locale=request.locale,
    )


async def _mobile_number(database: Database, merchant: UUID, recipient: Recipient | None) -> str:
    if recipient is None or recipient.phone is msgspec.UNSET:
        detail = "a delivery by SMS needs the number of the recipient"
        raise InvalidRequest(detail, param="recipient.phone")
    number = await read_local_phone(database, merchant, recipient.phone)
    if number is None:
        raise InvalidRequest(NO_NUMBER, param="recipient.phone")
    return number


async def _due_at(
    database: Database, merchant: UUID, at: str, zone: str | None
) -> tuple[datetime, str, datetime]:
    try:
        local = datetime.fromisoformat(at)
    except ValueError:
        raise InvalidRequest(f"{at} is not a date with a time", param="deliver.at") from None
    if zone is None:
        row = await database.one("select timezone from florin.merchant where id = $1", merchant)
        assert row is not None
        zone = str(row["timezone"])
    elif not await is_known_zone(database, zone):
        raise InvalidRequest(
            f"{zone} is not a known IANA time zone; give one such as Europe/Berlin",
            param="deliver.timezone",
        )
    return local, zone, await local_instant(database, local, zone)
