"""Delivery: what is sent to a person, once for each cause.

`enqueue_delivery` writes a row in the transaction of its cause. A delivery that is due is sent by a
job of the same transaction; one for later waits for the sweep (see schedule.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Reader, Row, Tx
from florin.kit.queue.enqueue import NewJob, enqueue

Kind = Literal["gift", "reminder", "invitation", "password_reset", "email_verification", "notice"]
Channel = Literal["email", "sms", "link"]
DeliveryState = Literal[
    "waiting", "due", "sending", "sent", "delivered", "bounced", "failed", "cancelled"
]
QUEUES = {"email": "email-delivery", "sms": "sms-delivery"}
KEPT_FOR = timedelta(days=30)
FAILURE_MAX = 500
CAUSE_OF_ACCOUNT = "token:"  # the cause of an account's mail: its e-mail token

_INSERT = """
insert into florin.delivery (merchant, id, cause, kind, channel, card, member, address, locale,
  message, data, local_time, timezone, secret_sealed, secret_until, due_at, state, sent_at)
select u.merchant, u.id, u.cause, u.kind, u.channel, u.card, u.member, u.address, u.locale,
  u.message, u.data::jsonb, u.local_time, u.timezone, u.secret,
  case when u.secret is not null then clock_timestamp() + $1::interval end,
  coalesce(u.due, n.now),
  case when u.channel = 'link' then 'sent' when u.due > n.now then 'waiting' else 'due' end,
  case when u.channel = 'link' then n.now end
from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[],
    $16::timestamptz[]) with ordinality
  as u (merchant, id, cause, kind, channel, card, member, address, locale, message, data,
    local_time, timezone, secret, due, n)
cross join lateral (select clock(u.merchant) as now) n
order by u.n
on conflict (merchant, cause) do nothing
returning id, state
"""

# The first minute at or after the local time: in a gap of summer time the first valid one, and of a
# minute that occurs twice the first one.
_INSTANT = """
select min(u) from generate_series(($1::timestamp at time zone $2) - interval '3 hours',
  ($1::timestamp at time zone $2) + interval '3 hours', interval '1 minute') u
where u at time zone $2 >= $1::timestamp
"""


class NewDelivery(msgspec.Struct, kw_only=True, frozen=True):
    """A delivery to make. `cause` is unique for the merchant, such as `issue:` and a card's id.
    `due_at`: an instant of the merchant's clock; `local_time` and `timezone`: what it follows from.
    `secret`: the token of the link that the text has. `trace`: see NewJob.
    """

    merchant: UUID
    cause: str
    kind: Kind
    channel: Channel
    address: str | None = None
    card: UUID | None = None
    member: UUID | None = None
    locale: str = "en"
    message: str | None = None
    data: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    due_at: datetime | None = None
    local_time: datetime | None = None
    timezone: str | None = None
    secret: str | None = None
    id: UUID = msgspec.field(default_factory=ids.new_id)
    trace: str | msgspec.UnsetType | None = msgspec.UNSET


class Delivery(msgspec.Struct, kw_only=True):
    """A message to a person. `attempts`: to send it since it was last asked for; `repeated`: those
    that followed one whose outcome is unknown, sent under the same Message-ID; `failure`: why it is
    not sent.
    """

    id: str
    object: Literal["delivery"] = "delivery"
    kind: Kind
    card: str | None
    channel: Channel
    address: str | None
    locale: str
    message: str | None
    state: DeliveryState
    due_at: datetime
    timezone: str | None
    sent_at: datetime | None
    attempts: int
    repeated: int
    failure: str | None
    created_at: datetime


async def enqueue_delivery(tx: Tx, new: NewDelivery, sealer: Sealer | None = None) -> UUID:
    """Write a delivery in the transaction of its cause; return its id. If the cause has a delivery
    already, nothing is written and that one's id is returned. `sealer`: of one with a secret.
    """
    if new.id in await enqueue_deliveries(tx, [new], sealer):
        return new.id
    found: UUID = await tx.value(
        "select id from florin.delivery where merchant = $1 and cause = $2",
        new.merchant,
        new.cause,
    )
    return found


async def enqueue_deliveries(
    tx: Tx, new: Sequence[NewDelivery], sealer: Sealer | None = None
) -> set[UUID]:
    """Write deliveries in the transaction of their cause, in one statement, with the jobs of those
    that are due; return the ids of those that were written: a cause has one delivery.
    """
    if not new:
        return set()
    columns = zip(*(_columns(each, sealer) for each in new), strict=True)
    made = await tx.all(_INSERT, KEPT_FOR, *(list(column) for column in columns))
    states = {row["id"]: row["state"] for row in made}
    jobs = [
        msgspec.structs.replace(send_job(each.merchant, each.id, each.channel, 1), trace=each.trace)
        for each in new
        if states.get(each.id) == "due"
    ]
    if jobs:
        await enqueue(tx, *jobs)
    return set(states)


def _columns(new: NewDelivery, sealer: Sealer | None) -> tuple[Any, ...]:
    """The arrays' elements of _INSERT, in their order."""
    sealed = None
    if new.secret is not None:
        assert sealer is not None
        sealed = sealer.seal(new.secret, bound_to=secret_binding(new.merchant, new.id))
    return (
        new.merchant,
        new.id,
        new.cause,
        new.kind,
        new.channel,
        new.card,
        new.member,
        new.address,
        new.locale,
        new.message,
        msgspec.json.encode(new.data).decode(),
        None if new.local_time is None else new.local_time.isoformat(timespec="minutes"),
        new.timezone,
        sealed,
        new.due_at,
    )


def send_job(merchant: UUID, delivery: UUID, channel: str, generation: int) -> NewJob:
    """The job that sends a delivery that is due: at most one waits or runs at a time."""
    return NewJob(
        queue=QUEUES[channel],
        kind="send",
        payload={"merchant": str(merchant), "delivery": str(delivery), "generation": generation},
        dedupe=f"{delivery.hex}:{generation}",
    )


async def local_instant(reader: Reader, local: datetime, zone: str) -> datetime:
    """The instant of a local time (without offset) in an IANA zone that the database knows. A time
    that a zone leaves out becomes the next one it has; of one that it has twice, the first.
    """
    row = await reader.one(_INSTANT, local, zone)
    assert row is not None
    instant: datetime = row["min"]
    return instant


async def find_delivery(reader: Reader, merchant: UUID, text: str) -> Delivery:
    """Raises NotFound."""
    row = await reader.one(
        "select * from florin.delivery where merchant = $1 and id = $2",
        merchant,
        parse_delivery_id(text),
    )
    if row is None:
        raise NotFound
    return delivery_from_row(row)


def delivery_from_row(row: Row) -> Delivery:
    return Delivery(
        id=ids.show_id("dlv", row["id"]),
        kind=row["kind"],
        card=None if row["card"] is None else ids.show_id("crd", row["card"]),
        channel=row["channel"],
        address=row["address"],
        locale=row["locale"],
        message=row["message"],
        state=row["state"],
        due_at=row["due_at"],
        timezone=row["timezone"],
        sent_at=row["sent_at"],
        attempts=row["attempts"],
        repeated=row["repeated"],
        failure=row["failure"],
        created_at=row["created_at"],
    )


def parse_delivery_id(text: str) -> UUID:
    """Raises NotFound."""
    return ids.require_id("dlv", text)


def secret_binding(merchant: UUID, delivery: UUID) -> bytes:
    return b"delivery" + merchant.bytes + delivery.bytes
