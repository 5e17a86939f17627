"""References: a caller's own name for a card or an order, which at most one of each has.

It is the second guard after the idempotency key: a caller that lost the key of a sale cannot make
its card twice. Unique indexes decide; two requests at once wait for each other there.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from florin.cards import codes
from florin.cards.delivering import CardDeliveries
from florin.cards.delivery_plan import DeliveryPlan
from florin.cards.requests import CardRequest
from florin.kit import ids
from florin.kit.errors import Overloaded, Refusal
from florin.kit.postgres.database import Database
from florin.ledger.issue import Issuance, IssueResult, issue_one_in

_PATIENCE = "select set_config('lock_timeout', '10s', true)"  # for a request with the same one
_SET = "update florin.card set reference = $3 where merchant = $1 and id = $2"


class ReferenceTaken(Refusal):
    """Another object of this kind has this reference; `existing` is its id."""

    code = "reference_taken"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePurpose:
    """What a reference names: a table, its unique index, and the prefix of its ids."""

    table: str
    index: str
    prefix: str


OF_CARD = ReferencePurpose(table="card", index="card_by_reference", prefix="crd")
OF_ORDER = ReferencePurpose(table="orders", index="orders_by_reference", prefix="ord")


@asynccontextmanager
async def refuse_taken(
    database: Database, purpose: ReferencePurpose, merchant: UUID, reference: str | None
) -> AsyncGenerator[None]:
    """Surround a transaction that writes a reference: one that another object has is refused once
    the transaction was given up. Raises ReferenceTaken.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if getattr(error, "constraint_name", None) != purpose.index:
            raise
        row = await database.one(
            f"select id from florin.{purpose.table} where merchant = $1 and reference = $2",  # noqa: S608 -- our own text
            merchant,
            reference,
        )
        if row is None:  # it was there a moment ago
            raise Overloaded from error
        existing = ids.show_id(purpose.prefix, row["id"])
        raise ReferenceTaken(
            f"{existing} has the reference {reference}; it is this one if you repeat a request",
            param="reference",
            extra={"existing": existing},
        ) from error


def given_reference(reference: str | msgspec.UnsetType) -> str | None:
    """The reference of a request, if it has one."""
    return None if reference is msgspec.UNSET else reference


async def issue_in_transaction(
    database: Database,
    deliveries: CardDeliveries,
    issuance: Issuance,
    plan: DeliveryPlan | None,
    secret: str,
    request: CardRequest,
) -> IssueResult:
    """Issue a card with its delivery and its reference in one transaction. `secret`: its code and
    PIN; `request`: it may have a reference. Raises as the ledger does, and ReferenceTaken.
    """
    merchant, reference = issuance.merchant, given_reference(request.reference)
    async with (
        refuse_taken(database, OF_CARD, merchant, reference),
        database.transaction() as tx,
    ):
        issued = await issue_one_in(tx, issuance)
        if not issued.recalled:
            if plan is not None:
                shown = secret if issued.first.pin else secret[: codes.LENGTH]
                await deliveries.deliver_issued(tx, merchant, issued.id, shown, plan)
            if reference is not None:
                await tx.run(_PATIENCE)
                await tx.run(_SET, merchant, issued.id, reference)
    return msgspec.structs.replace(issued, position=await database.position())
