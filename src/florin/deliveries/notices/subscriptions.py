"""Subscriptions: what a member gets mails about."""

from typing import Annotated, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit.errors import Forbidden
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database, Tx

NoticeAbout = Literal["job.finished", "job.failed", "delivery.bounced", "webhook_endpoint.disabled"]
ABOUT: frozenset[str] = frozenset(get_args(NoticeAbout))
# A member gets no mail about what its role may not read.
NEEDED_SCOPE: dict[str, str] = {
    "job.finished": "cards:read",
    "job.failed": "cards:read",
    "delivery.bounced": "deliveries:read",
    "webhook_endpoint.disabled": "webhooks:read",
}


class NoticeChange(Request, kw_only=True):
    """`about`: all that you subscribe to; what is left out ends."""

    about: Annotated[list[NoticeAbout], Meta(max_length=len(ABOUT))]


class NoticeSubscription(msgspec.Struct, kw_only=True):
    """What you get mails about."""

    object: Literal["notice_subscription"] = "notice_subscription"
    about: list[NoticeAbout]


async def find_subscription(database: Database, merchant: UUID, member: UUID) -> NoticeSubscription:
    row = await database.one(
        "select notices from florin.member where merchant = $1 and id = $2", merchant, member
    )
    return NoticeSubscription(about=[] if row is None else list(row["notices"]))


async def change_subscription(
    database: Database, by: AuditActor, member: UUID, request: NoticeChange, scopes: frozenset[str]
) -> NoticeSubscription:
    """Raises Forbidden for what the role of the member may not read."""
    about = sorted(set(request.about))
    for each in about:
        if NEEDED_SCOPE[each] not in scopes:
            raise Forbidden(f"{each} needs the scope {NEEDED_SCOPE[each]}, which your role lacks")
    async with database.transaction() as tx:
        await tx.run(
            "update florin.member set notices = $3 where merchant = $1 and id = $2",
            by.merchant,
            member,
            about,
        )
        await audit_log.record_audit(
            tx, by, "member.notices_changed", by.actor, after={"about": about}
        )
    return NoticeSubscription(about=about)


async def notify_of_bounce(tx: Tx, merchant: UUID, delivery: UUID) -> None:
    """In the transaction that records the bounce of a gift or a reminder, once for each time that
    it was sent.
    """
    await tx.run(_BOUNCED, merchant, delivery)


_BOUNCED = """
select notify_staff(d.merchant, 'delivery.bounced', d.id::text || '.' || d.generation,
  jsonb_build_object('delivery', d.id, 'kind', d.kind))
from florin.delivery d
where d.merchant = $1 and d.id = $2 and d.state = 'bounced' and d.kind in ('gift', 'reminder')
"""
