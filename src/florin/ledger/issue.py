"""Issue: create cards with their accounts. Waiting requests share one call of `issue.sql`."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from florin.kit import client_departure, ids
from florin.kit.client_departure import ClientConnection
from florin.kit.errors import QuotaExceeded
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import Database, Row, Tx
from florin.ledger.batching import LOCK_TIMEOUT_MS, PostingBatcher, ignore_merchants
from florin.ledger.refusals import BY_OUTCOME

SEALED_FOR = timedelta(hours=24)

_SQL = (
    "select * from issue($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[],"
    " $6::bytea[], $7::uuid[], $8::bigint[], $9::boolean[], $10::bytea[], $11::text[],"
    " $12::text[], $13::text[], $14::text[], $15::bytea[], $16::interval, $17::text[],"
    " $18::integer, $19::uuid, $20::timestamptz[], p_payment => $21::uuid[])"
)

_PARAM_OF = {
    "amount_not_allowed": "amount",
    "expiry_not_allowed": "expires_at",
    "program_not_found": "program",
}


class Issuance(msgspec.Struct, kw_only=True, gc=False):
    """One card to issue. `amount` is in minor units of its program's currency."""

    merchant: UUID
    program: UUID
    amount: int
    code: bytes  # its keyed hash
    pin: bytes | None = None  # the hash of its PIN, used if its program has PINs
    pin_wanted: bool = False  # even if its program has no PINs
    last4: str
    sealed: bytes | None
    actor: str
    location: str | None = None  # the only one at which the actor may act
    activate: bool = True
    id: UUID = msgspec.field(default_factory=ids.new_id)
    transfer: UUID = msgspec.field(default_factory=ids.new_id)
    event: UUID = msgspec.field(default_factory=ids.new_id)
    key: str | None = None
    fingerprint: bytes | None = None
    recipient_name: str | None = None
    recipient_email: str | None = None
    metadata: str | None = None  # JSON
    expires_at: datetime | None = None  # instead of the date by its program
    payment: UUID | None = None  # of the order whose card it is
    # The connection that the item came from; None in a job.
    client: ClientConnection | None = msgspec.field(default_factory=client_departure.current)


class FirstAnswer(msgspec.Struct, kw_only=True):
    """A card as it was when it was issued."""

    program: UUID
    currency: str
    state: str
    balance: int
    issued_at: datetime
    expires_at: datetime | None
    pin: bool = False
    last4: str = ""  # of the code at that time; empty if it was not recorded


class IssueResult(msgspec.Struct, kw_only=True):
    id: UUID
    recalled: bool  # issued by an earlier call: the code is the one in the sealed copy
    replayed: bool
    first: FirstAnswer
    position: str


class IssuingLedger:
    """Issues cards for requests; jobs use `issue_in` and `issue_each_in`."""

    def __init__(
        self, database: Database, on_change: Callable[[set[UUID]], None] = ignore_merchants
    ) -> None:
        self._batcher = PostingBatcher(database, _call_arguments, _SQL, on_change)

    async def issue(self, issuance: Issuance) -> IssueResult:
        """Raises ProgramNotFound, AmountNotAllowed, IdempotencyKeyReused, Overloaded, …

        Raises asyncpg.UniqueViolationError when the code is in use: make another.
        """
        row, position = await self._batcher.submit(issuance)
        return _result(issuance, row, position)

    async def settle(self) -> None:
        await self._batcher.settle()


def _result(issuance: Issuance, row: Row, position: str | None) -> IssueResult:
    outcome: str = row["outcome"]
    if outcome == "quota_exceeded":
        limit: int = msgspec.json.decode(row["answer"])["limit"]
        raise QuotaExceeded.of("cards_per_day", limit, position=position)
    if outcome not in {"ok", "replayed"}:
        raise BY_OUTCOME[outcome](param=_PARAM_OF.get(outcome), position=position)
    return IssueResult(
        id=row["id"],
        recalled=outcome == "replayed",
        replayed=outcome == "replayed" and row["id"] != issuance.id,
        first=msgspec.json.decode(row["answer"], type=FirstAnswer),
        position=position or "",
    )


async def issue_one_in(tx: Tx, issuance: Issuance) -> IssueResult:
    """Issue one card of a request in the caller's transaction, with what belongs to it. The result
    has no position: it is known after the commit. Raises as `IssuingLedger.issue` does.
    """
    rows = await tx.all(_SQL, *_call_arguments([issuance], LOCK_TIMEOUT_MS))
    return _result(issuance, rows[0], None)


async def issue_in(tx: Tx, issuances: list[Issuance], *, job: UUID) -> FirstAnswer:
    """Issue cards of a job in the caller's transaction, all or none; return the first answer.

    Raises the refusal of the first refused card, and asyncpg.UniqueViolationError.
    """
    rows = await tx.all(_SQL, *_call_arguments(issuances, LOCK_TIMEOUT_MS, job))
    for row in rows:
        if row["outcome"] != "ok":
            raise BY_OUTCOME[row["outcome"]]
    return msgspec.json.decode(rows[0]["answer"], type=FirstAnswer)


async def issue_each_in(tx: Tx, issuances: list[Issuance], *, job: UUID) -> Sequence[Row]:
    """Issue cards of a job in the caller's transaction, each on its own; return a row for each card
    with its outcome and answer. Raises asyncpg.UniqueViolationError.
    """
    if not issuances:
        return []
    return await tx.all(_SQL, *_call_arguments(issuances, LOCK_TIMEOUT_MS, job))


async def issue_paid_in(tx: Tx, issuances: list[Issuance]) -> None:
    """Issue the cards of orders in the transaction that settles their payments, all or none.

    Raises the refusal of the first refused card, and asyncpg.UniqueViolationError.
    """
    for row in await tx.all(_SQL, *_call_arguments(issuances, LOCK_TIMEOUT_MS)):
        if row["outcome"] != "ok":
            raise BY_OUTCOME[row["outcome"]]


async def rotate_code(
    database: Database,
    *,
    merchant: UUID,
    card: UUID,
    code: bytes,
    last4: str,
    sealed: bytes,
    key: str | None,
    fingerprint: bytes,
    actor: str,
) -> str:
    """Replace the code of a card; return the outcome, ok or replayed. Raises refusals."""
    return await _replace_secret(
        database,
        "select outcome from rotate_code($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        merchant,
        card,
        ids.new_id(),
        code,
        last4,
        sealed,
        SEALED_FOR,
        key,
        fingerprint,
        actor,
    )


async def reset_pin(
    database: Database,
    *,
    merchant: UUID,
    card: UUID,
    pin: bytes,
    sealed: bytes,
    key: str | None,
    fingerprint: bytes,
    actor: str,
) -> str:
    """Replace the PIN of a card; return the outcome, ok or replayed. Raises refusals."""
    return await _replace_secret(
        database,
        "select outcome from reset_pin($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        merchant,
        card,
        ids.new_id(),
        pin,
        sealed,
        SEALED_FOR,
        key,
        fingerprint,
        actor,
    )


async def _replace_secret(database: Database, sql: str, *arguments: object) -> str:
    async with database.connection() as connection:
        try:
            outcome: str = await connection.fetchval(sql, *arguments)
        except asyncpg.LockNotAvailableError:
            outcome = "busy"
    if outcome not in {"ok", "replayed"}:
        raise BY_OUTCOME[outcome]
    record_commit()
    return outcome


def _code_and_pin(item: Issuance) -> bytes:
    """Encode `p_code` of `issue.sql`."""
    if item.pin is None:
        return item.code
    return item.code + item.pin + (b"\x01" if item.pin_wanted else b"")


def _actor_and_location(item: Issuance) -> str:
    """Encode `p_actor` of `issue.sql`."""
    return item.actor if item.location is None else f"{item.actor}\x1f{item.location}"


def _call_arguments(
    items: list[Issuance],
    lock_timeout_ms: int,
    job: UUID | None = None,
) -> list[object]:
    return [
        [item.merchant for item in items],
        [item.id for item in items],
        [item.transfer for item in items],
        [item.event for item in items],
        [item.key for item in items],
        [item.fingerprint for item in items],
        [item.program for item in items],
        [item.amount for item in items],
        [item.activate for item in items],
        [_code_and_pin(item) for item in items],
        [item.last4 for item in items],
        [item.recipient_name for item in items],
        [item.recipient_email for item in items],
        [item.metadata for item in items],
        [item.sealed for item in items],
        SEALED_FOR,
        [_actor_and_location(item) for item in items],
        lock_timeout_ms,
        job,
        [item.expires_at for item in items],
        [item.payment for item in items],
    ]
