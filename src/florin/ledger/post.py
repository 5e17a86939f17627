"""Post: move money on cards. Waiting requests share a call of `post.sql`, each with its answer."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from florin.kit import client_departure, ids
from florin.kit.client_departure import ClientConnection
from florin.kit.errors import IdempotencyKeyReused, Overloaded, Refusal
from florin.kit.postgres.database import Database, Row, Tx
from florin.ledger.batching import LOCK_TIMEOUT_MS, PostingBatcher, ignore_merchants
from florin.ledger.refusals import (
    BY_OUTCOME,
    CardNotFound,
    CashOutNotAllowed,
    InsufficientFunds,
    PinIncorrect,
)

# The refusals when a card, or the first request of a key, was recorded under another secret.
_UNKNOWN = (CardNotFound, IdempotencyKeyReused)
_ABOUT_NO_CARD = frozenset({"busy", "idempotency_key_reused", "invalid_request"})
_SQL = (
    "select * from post($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[],"
    " $6::bytea[], $7::uuid[], $8::bytea[], $9::uuid[], $10::bigint[], $11::text[],"
    " $12::boolean[], $13::boolean[], $14::integer[], $15::text[], $16::text[], $17::text[],"
    " $18::text[], $19::text[], $20::integer, $21::timestamptz[], $22::boolean,"
    " $23::boolean[], $24::bigint[])"
)


class Posting(msgspec.Struct, kw_only=True, gc=False):
    """One item for the ledger. Amounts are in minor units; `post.sql` says what each op needs."""

    merchant: UUID
    op: str
    actor: str
    id: UUID = msgspec.field(default_factory=ids.new_id)
    event: UUID = msgspec.field(default_factory=ids.new_id)
    key: str | None = None
    fingerprint: bytes | None = None
    card: UUID | None = None
    code: bytes | None = None  # its keyed hash
    pin: bytes | None = None  # with a code: its keyed hash under each secret, concatenated
    other: UUID | None = None  # the redemption refunded, the hold resolved, the card paid to
    amount: int | None = None
    currency: str | None = None
    remainder: bool = False
    simulate: bool = False
    expires_in: int | None = None  # seconds
    reference: str | None = None
    location: str | None = None
    reason: str | None = None
    until: datetime | None = None  # of an extension
    from_blocked: bool = False  # by an owner: also from a blocked card
    most: int | None = None  # of a cash-out: the highest balance that is paid out
    metadata: str | None = None  # JSON
    # The same item under the previous secret of codes: used when this one is unknown.
    previous_pepper: "Posting | None" = None
    # The connection that the item came from; None in a job.
    client: ClientConnection | None = msgspec.field(default_factory=client_departure.current)


class PostResult(msgspec.Struct, kw_only=True, gc=False):
    """The result of a posting.

    `recalled`: it was committed by an earlier call; only `id`, the id of its first result, and
    `card` are set. `replayed`: the earlier call was made by another request, not by a repetition
    of this one.
    """

    id: UUID
    recalled: bool = False
    replayed: bool = False
    card: UUID | None = None
    currency: str = ""
    amount: int = 0
    part: int | None = None  # for a refund the total refunded; for a hold the captured amount
    balance: int = 0
    held: int = 0
    state: str = ""
    expires_at: datetime | None = None
    noun: UUID | None = None  # the redemption that was refunded, or that a capture created
    sequence: int | None = None
    at: datetime | None = None
    position: str = ""


class Ledger:
    """Posts transactions of existing cards for requests; jobs use `post_in`."""

    def __init__(
        self, database: Database, on_change: Callable[[set[UUID]], None] = ignore_merchants
    ) -> None:
        self._batcher = PostingBatcher(database, _call_arguments, _SQL, on_change)

    async def post(self, posting: Posting) -> PostResult:
        """Post one item; concurrent calls share a transaction.

        Raises the refusals of `ledger.refusals`, Overloaded (nothing happened) and OutcomeUnknown
        (repeat with the same key).
        """
        row, position = await self._batcher.submit(posting)
        try:
            return _posted(posting, row, position)
        except _UNKNOWN as refusal:
            if posting.previous_pepper is None:
                raise
            (answer,) = await self.post_all([posting.previous_pepper])
            if isinstance(answer, PostResult):
                return answer
            raise refusal if isinstance(answer, _UNKNOWN) else answer from None

    async def post_all(self, postings: Sequence[Posting]) -> list[PostResult | Refusal]:
        """Post many items of one request; each succeeds or is refused on its own."""
        answers: list[PostResult | Refusal] = []
        for posting, answer in zip(postings, await self._batcher.submit_all(postings), strict=True):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                answers.append(_posted(posting, *answer))
            except Refusal as refusal:
                answers.append(refusal)
        under_previous = {
            at: posting.previous_pepper
            for at, (posting, answer) in enumerate(zip(postings, answers, strict=True))
            if posting.previous_pepper is not None and isinstance(answer, _UNKNOWN)
        }
        if under_previous:
            retried = await self.post_all(list(under_previous.values()))
            for at, answer in zip(under_previous, retried, strict=True):
                answers[at] = answers[at] if isinstance(answer, _UNKNOWN) else answer
        return answers

    async def settle(self) -> None:
        await self._batcher.settle()

    def waiting(self) -> int:
        return self._batcher.waiting()


async def post_in(tx: Tx, postings: list[Posting]) -> list[str]:
    """Post in the caller's transaction; return the outcomes. For background jobs: an item whose
    card is locked elsewhere is `busy` and must be posted again.
    """
    rows = await tx.all(_SQL, *_call_arguments(postings, LOCK_TIMEOUT_MS, background=True))
    return [row["outcome"] for row in rows]


async def post_rows_in(
    tx: Tx, postings: Sequence[Posting], *, lock_timeout_ms: int = LOCK_TIMEOUT_MS
) -> Sequence[Row]:
    """Post in the caller's transaction; return a row with outcome and amount for each item.

    Raises Overloaded if a card is locked elsewhere for longer than `lock_timeout_ms`: the caller's
    transaction must be given up and begun again.
    """
    if not postings:
        return []
    rows = await tx.all(_SQL, *_call_arguments(list(postings), lock_timeout_ms))
    if any(row["outcome"] == "busy" for row in rows):
        raise Overloaded("a card is in use by another request; repeat the request")
    return rows


def _posted(posting: Posting, row: Row, position: str) -> PostResult:
    """Make the result of a row that the ledger returned. Raises its refusal."""
    outcome: str = row["outcome"]
    if outcome == "replayed":
        return PostResult(
            id=row["id"],
            recalled=True,
            replayed=row["id"] != posting.id,
            card=row["card"],
            position=position,
        )
    if outcome != "ok":
        refusal = BY_OUTCOME[outcome]
        extra: dict[str, int] = {}
        if refusal is InsufficientFunds:
            extra["available"] = row["balance"] - row["held"]
        elif refusal is PinIncorrect:
            extra["attempts_left"] = row["part"]
        elif refusal is CashOutNotAllowed:
            extra |= {"balance": row["balance"], "limit": posting.most or 0}
        param = _refused_field(outcome, posting, row["noun"])
        raise refusal(_detail(refusal, param, posting), param=param, extra=extra, position=position)
    return PostResult(
        id=row["id"],
        card=row["card"],
        currency=row["currency"],
        amount=row["amount"] or 0,
        part=row["part"],
        balance=row["balance"],
        held=row["held"],
        state=row["state"],
        expires_at=row["expires_at"],
        noun=row["noun"],
        sequence=row["sequence"],
        at=row["at"],
        position=position,
    )


def _refused_field(outcome: str, posting: Posting, refused_card: UUID | None) -> str | None:
    """The field that a refusal is about. A transfer has two cards: `refused_card` is the credited
    one if the refusal is about it.
    """
    if posting.op == "transfer":
        if outcome in _ABOUT_NO_CARD:
            return None
        about_credited = outcome in {"currency_mismatch", "balance_limit_exceeded"}
        return "to" if about_credited or refused_card == posting.other else "from"
    return "currency" if outcome == "currency_mismatch" else None


def _detail(refusal: type[Refusal], param: str | None, posting: Posting) -> str | None:
    """The detail of a refused transfer: which of its two cards the refusal is about."""
    if posting.op != "transfer" or param is None:
        return None
    card = posting.other if param == "to" else posting.card
    return None if card is None else f"{param} {ids.show_id('crd', card)}: {refusal.title()}"


def _call_arguments(
    items: list[Posting], lock_timeout_ms: int, *, background: bool = False
) -> list[object]:
    return [
        [item.merchant for item in items],
        [item.op for item in items],
        [item.id for item in items],
        [item.event for item in items],
        [item.key for item in items],
        [item.fingerprint for item in items],
        [item.card for item in items],
        [item.code + item.pin if item.code and item.pin else item.code for item in items],
        [item.other for item in items],
        [item.amount for item in items],
        [item.currency for item in items],
        [item.remainder for item in items],
        [item.simulate for item in items],
        [item.expires_in for item in items],
        [item.actor for item in items],
        [item.reference for item in items],
        [item.location for item in items],
        [item.reason for item in items],
        [item.metadata for item in items],
        lock_timeout_ms,
        [item.until for item in items],
        background,
        [item.from_blocked for item in items],
        [item.most for item in items],
    ]
