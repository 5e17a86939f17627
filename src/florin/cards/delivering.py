"""Delivering: a card to its recipient, new links to its page, and deliveries that are sent again.

A link needs the code of its card. The code can be read for 24 hours after it was made; later only a
new code makes a new link, and the old code no longer works then.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from florin.cards import codes
from florin.cards.card import Card
from florin.cards.delivery_plan import DeliveryPlan
from florin.cards.page_facts import read_card_facts, voucher_of
from florin.cards.request_context import RequestContext
from florin.deliveries import changes
from florin.deliveries.card_links import CardLinks
from florin.deliveries.channels.pdf import Voucher
from florin.deliveries.delivery import (
    Delivery,
    NewDelivery,
    delivery_from_row,
    enqueue_delivery,
    secret_binding,
)
from florin.deliveries.look import read_look
from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.errors import Refusal
from florin.kit.http.body import Request
from florin.kit.postgres.database import Database, Row, Tx
from florin.kit.settings import Settings
from florin.ledger.refusals import CardNotFound

_CARD = """
select a.state::text as state, a.pin_hash is not null as pin,
  a.state = 'active' and coalesce(a.expires_at > clock($1), true) as active,
  case when c.sealed_until > clock_timestamp() then c.sealed_code end as sealed
from florin.account a join florin.card c on c.merchant = a.merchant and c.id = a.id
where a.merchant = $1 and a.id = $2
"""


class CodeNotAvailable(Refusal):
    """The code of this card can no longer be read: repeat with `rotate_code`, which replaces it."""

    code = "code_not_available"
    status = 409


class CardNotDeliverable(Refusal):
    """Only an active card can be delivered."""

    code = "card_not_deliverable"
    status = 409


class RotateRequest(Request, kw_only=True):
    """`rotate_code`: replace the code of the card; the old one no longer works."""

    rotate_code: bool = False


class CardLink(msgspec.Struct, kw_only=True):
    """The address of the page of a card. `revoked`: how many older addresses no longer work."""

    object: Literal["card_link"] = "card_link"
    card: str
    url: str
    revoked: int


class IssuedCard(NamedTuple):
    """A card to send. `secret`: its code, followed by the PIN if it has one."""

    merchant: UUID
    card: UUID
    secret: str
    plan: DeliveryPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDeliveries:
    """Makes the links and deliveries of cards. `public_url`: where their pages are. `sms`: whether
    messages by SMS can be sent.
    """

    links: CardLinks
    sealer: Sealer
    public_url: str
    sms: bool = False

    @staticmethod
    def of(settings: Settings, links: CardLinks, sealer: Sealer) -> "CardDeliveries":
        return CardDeliveries(
            links=links, sealer=sealer, public_url=settings.page_origin, sms=settings.sends_sms
        )

    def page_url(self, token: str) -> str:
        return f"{self.public_url}/c/{token}"

    async def deliver_issued(
        self, tx: Tx, merchant: UUID, card: UUID, secret: str, plan: DeliveryPlan
    ) -> UUID:
        """Make the link and the delivery of a card in the transaction that issues it."""
        [new] = await self.link_issued(tx, [IssuedCard(merchant, card, secret, plan)])
        return await enqueue_delivery(tx, new, self.sealer)

    async def link_issued(self, tx: Tx, cards: Sequence[IssuedCard]) -> list[NewDelivery]:
        """Make the links of cards in the transaction that issues them; return the deliveries that
        remain to be enqueued there.
        """
        if not cards:
            return []
        tokens = await self.links.make_links(
            tx, [(each.merchant, each.card, each.secret) for each in cards]
        )
        return [
            NewDelivery(
                merchant=each.merchant,
                cause=_cause(each.card),
                kind="gift",
                channel=each.plan.channel,
                card=each.card,
                address=each.plan.address,
                locale=each.plan.locale,
                message=each.plan.message,
                due_at=each.plan.due_at,
                local_time=each.plan.local_time,
                timezone=each.plan.timezone,
                secret=token,
            )
            for each, token in zip(cards, tokens, strict=True)
        ]

    async def with_delivery(
        self, database: Database, merchant: UUID, uuid: UUID, card: Card
    ) -> Card:
        """The card with the delivery that was made with it."""
        delivery, url = await self.delivery_of_issue(database, merchant, uuid)
        return msgspec.structs.replace(
            card,
            delivery=msgspec.UNSET if delivery is None else ids.show_id("dlv", delivery),
            url=msgspec.UNSET if url is None else url,
        )

    async def delivery_of_issue(
        self, database: Database, merchant: UUID, card: UUID
    ) -> tuple[UUID | None, str | None]:
        """The delivery that was made with a card, and the address of a `link` while it is kept."""
        row = await database.one(
            "select * from florin.delivery where merchant = $1 and cause = $2",
            merchant,
            _cause(card),
        )
        if row is None:
            return None, None
        token = self._token(row) if row["channel"] == "link" else None
        return row["id"], None if token is None else self.page_url(token)

    async def new_link(
        self, database: Database, by: AuditActor, card: UUID, rotated: str | None
    ) -> CardLink:
        """Make a link; the older ones no longer work. `rotated`: the new code, if it was replaced.

        Raises CardNotFound, CardNotDeliverable, CodeNotAvailable.
        """
        async with database.transaction() as tx:
            secret = rotated or await self._readable_code(tx, by.merchant, card)
            token, revoked = await self._replace_links(tx, by.merchant, card, secret)
            name = ids.show_id("crd", card)
            await audit_log.record_audit(tx, by, "card.link_made", name, after={"revoked": revoked})
        return CardLink(card=name, url=self.page_url(token), revoked=revoked)

    async def voucher(
        self, database: Database, merchant: UUID, card: UUID, peppers: Sequence[str]
    ) -> Voucher:
        """The voucher of a card. Raises CardNotFound, CardNotDeliverable, CodeNotAvailable."""
        secret = await self._readable_code(database, merchant, card)
        facts = await read_card_facts(database, merchant, card, secret, peppers)
        made = voucher_of(facts, await read_look(database, merchant))
        if made is None:  # it was replaced or blocked meanwhile
            raise CodeNotAvailable
        return made

    async def resend(
        self, database: Database, by: AuditActor, text: str, rotated: str | None
    ) -> Delivery:
        """Send a delivery again: with its own link while that is valid, else with a new one.

        Raises NotFound, DeliveryStateConflict, CardNotDeliverable, CodeNotAvailable.
        """
        async with database.transaction() as tx:
            row = await changes.lock_delivery(tx, by.merchant, text)
            changes.require_ended(row)
            token = self._token(row)
            fresh = None
            if row["card"] is not None and (
                rotated is not None or token is None or not await self.links.is_open(tx, token)
            ):
                secret = rotated or await self._readable_code(tx, by.merchant, row["card"])
                fresh, _ = await self._replace_links(tx, by.merchant, row["card"], secret)
            again = await changes.send_again(tx, by, row, self.sealer, secret=fresh)
        return delivery_from_row(again)

    async def _replace_links(
        self, tx: Tx, merchant: UUID, card: UUID, secret: str
    ) -> tuple[str, int]:
        # Concurrent requests follow each other, so that one link is left.
        number = hashlib.sha256(b"card link" + merchant.bytes + card.bytes).digest()[:8]
        await tx.run("select pg_advisory_xact_lock($1)", int.from_bytes(number, "big", signed=True))
        revoked = await self.links.revoke_all(tx, merchant, card)
        return await self.links.make(tx, merchant, card, secret), revoked

    async def _readable_code(self, reader: Database | Tx, merchant: UUID, card: UUID) -> str:
        """The code of a card, followed by the PIN if it was made with it."""
        row = await reader.one(_CARD, merchant, card)
        if row is None:
            raise CardNotFound
        if not row["active"]:
            raise CardNotDeliverable(f"the card is {row['state']}; only an active one is delivered")
        if row["sealed"] is None:
            raise CodeNotAvailable
        try:
            secret = self.sealer.unseal(row["sealed"], bound_to=merchant.bytes + card.bytes)
        except UnsealFailed:
            raise CodeNotAvailable from None
        if len(secret) < codes.LENGTH:  # a new PIN replaced it
            raise CodeNotAvailable
        return secret if row["pin"] else secret[: codes.LENGTH]

    def _token(self, row: Row) -> str | None:
        if row["secret_sealed"] is None:
            return None
        try:
            return self.sealer.unseal(
                row["secret_sealed"], bound_to=secret_binding(row["merchant"], row["id"])
            )
        except UnsealFailed:
            return None


async def require_deliverable(database: Database, context: RequestContext, card: UUID) -> None:
    """Checked before the code is replaced. Raises CardNotFound, CardNotDeliverable."""
    row = await database.one(_CARD, context.merchant, card)
    if row is None:
        raise CardNotFound
    if not row["active"]:
        raise CardNotDeliverable(f"the card is {row['state']}; only an active one is delivered")


def _cause(card: UUID) -> str:
    return f"issue:{card.hex}"
