"""Issue: create cards with their accounts. One call of `issue.sql` for the requests that wait."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from florin.kit import ids
from florin.kit.errors import QuotaExceeded
from florin.kit.postgres.commit_tracking import record_commit
from florin.kit.postgres.database import Database, Row, Tx
from florin.ledger.batching import LOCK_TIMEOUT_MS, PostingBatcher, ignore_merchants
from florin.ledger.refusals import BY_OUTCOME

SEALED_FOR = timedelta(hours=24)

_SQL = (
    "select * from florin.issue($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[],"
    " $6::bytea[], $7::uuid[], $8::bigint[], $9::boolean[], $10::bytea[], $11::text[],"
    " $12::text[], $13::text[], $14::text[], $15::bytea[], $16::interval, $17::text[],"
    " $18::integer, $19::uuid)"
)

_BLAMED = {"amount_not_allowed": "amount", "program_not_found": "program"}


class Issuance(msgspec.Struct, kw_only=True, gc=False):
    """One card to be made. `amount` in minor units of its program's currency."""

    merchant: UUID
    program: UUID
    amount: int
    code: bytes  # its keyed hash
    pin: bytes | None = None  # the hash of its PIN, which it has if its program says so
    pin_wanted: bool = False  # whatever its program says
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


class FirstAnswer(msgspec.Struct, kw_only=True):
    """What a card was when it was issued."""

    program: UUID
    currency: str
    state: str
    balance: int
    issued_at: datetime
    expires_at: datetime | None
    pin: bool = False
    last4: str = ""  # of the code it had then; empty where that was not recorded yet


class IssueResult(msgspec.Struct, kw_only=True):
    id: UUID
    recalled: bool  # issued by an earlier call: its code is in the sealed copy, not ours
    replayed: bool
    first: FirstAnswer
    position: str


class IssuingLedger:
    """The door through which cards come into being."""

    def __init__(
        self, database: Database, told: Callable[[set[UUID]], None] = ignore_merchants
    ) -> None:
        self._lanes = PostingBatcher(database, _call_arguments, _SQL, told)

    async def issue(self, issuance: Issuance) -> IssueResult:
        """Raises ProgramNotFound, AmountNotAllowed, IdempotencyKeyReused, Overloaded, …

        Raises asyncpg.UniqueViolationError when the code is taken: make another.
        """
        row, position = await self._lanes.submit(issuance)
        outcome: str = row["outcome"]
        if outcome == "quota_exceeded":
            limit: int = msgspec.json.decode(row["answer"])["limit"]
            raise QuotaExceeded.of("cards_per_day", limit, position=position)
        if outcome not in {"ok", "replayed"}:
            raise BY_OUTCOME[outcome](param=_BLAMED.get(outcome), position=position)
        return IssueResult(
            id=row["id"],
            recalled=outcome == "replayed",
            replayed=outcome == "replayed" and row["id"] != issuance.id,
            first=msgspec.json.decode(row["answer"], type=FirstAnswer),
            position=position,
        )

    async def settle(self) -> None:
        await self._lanes.settle()


async def issue_in(tx: Tx, issuances: list[Issuance], *, job: UUID) -> FirstAnswer:
    """Make a job's cards in a transaction of the caller's own, all of them or none; the first one's
    answer.

    Raises the refusal of the first that was refused, and asyncpg.UniqueViolationError.
    """
    rows = await tx.all(_SQL, *_call_arguments(issuances, LOCK_TIMEOUT_MS, job))
    for row in rows:
        if row["outcome"] != "ok":
            raise BY_OUTCOME[row["outcome"]]
    return msgspec.json.decode(rows[0]["answer"], type=FirstAnswer)


async def issue_each_in(tx: Tx, issuances: list[Issuance], *, job: UUID) -> Sequence[Row]:
    """Make a job's cards in a transaction of the caller's own, each for itself: a row for each,
    with its outcome and answer. Raises asyncpg.UniqueViolationError.
    """
    if not issuances:
        return []
    return await tx.all(_SQL, *_call_arguments(issuances, LOCK_TIMEOUT_MS, job))


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
    """Give a card a new code; return the outcome: ok or replayed. Raises refusals."""
    return await _changed(
        database,
        "select outcome from florin.rotate_code($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
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
    """Give a card a new PIN; return the outcome: ok or replayed. Raises refusals."""
    return await _changed(
        database,
        "select outcome from florin.reset_pin($1, $2, $3, $4, $5, $6, $7, $8, $9)",
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


async def _changed(database: Database, sql: str, *arguments: object) -> str:
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
    """As `issue.sql` reads them."""
    if item.pin is None:
        return item.code
    return item.code + item.pin + (b"\x01" if item.pin_wanted else b"")


def _actor_and_location(item: Issuance) -> str:
    """As `issue.sql` reads them."""
    return item.actor if item.location is None else f"{item.actor}\x1f{item.location}"


def _call_arguments(
    items: list[Issuance], patience_ms: int, job: UUID | None = None
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
        patience_ms,
        job,
    ]
