"""Post: move money. One call of `post.sql` for the requests that wait, each with its own answer."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from florin.kit import ids
from florin.kit.errors import IdempotencyKeyReused, Refusal
from florin.kit.postgres.database import Database, Row, Tx
from florin.ledger.batching import LOCK_TIMEOUT_MS, PostingBatcher, ignore_merchants
from florin.ledger.refusals import BY_OUTCOME, CardNotFound, InsufficientFunds, PinIncorrect

# What a card, or a key's request, that was recorded under another secret looks like.
_UNKNOWN = (CardNotFound, IdempotencyKeyReused)
_OF_NO_CARD = frozenset({"busy", "idempotency_key_reused", "invalid_request"})
_SQL = (
    "select * from florin.post($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[],"
    " $6::bytea[], $7::uuid[], $8::bytea[], $9::uuid[], $10::bigint[], $11::text[],"
    " $12::boolean[], $13::boolean[], $14::integer[], $15::text[], $16::text[], $17::text[],"
    " $18::text[], $19::text[], $20::integer)"
)


class Posting(msgspec.Struct, kw_only=True, gc=False):
    """One item for the ledger. Amounts in minor units; see `post.sql` for what each op needs."""

    merchant: UUID
    op: str
    actor: str
    id: UUID = msgspec.field(default_factory=ids.new_id)
    event: UUID = msgspec.field(default_factory=ids.new_id)
    key: str | None = None
    fingerprint: bytes | None = None
    card: UUID | None = None
    code: bytes | None = None  # its keyed hash
    pin: bytes | None = None  # beside the code: its keyed hash under each secret, one after another
    other: UUID | None = None  # the redemption refunded, the hold resolved, the card paid to
    amount: int | None = None
    currency: str | None = None
    remainder: bool = False
    simulate: bool = False
    expires_in: int | None = None  # seconds
    reference: str | None = None
    location: str | None = None
    reason: str | None = None
    metadata: str | None = None  # JSON
    # The same, as it is known under the secret that keyed codes before: tried if this is unknown.
    previous_pepper: "Posting | None" = None


class PostResult(msgspec.Struct, kw_only=True, gc=False):
    """What came of an item.

    `recalled`: it happened in an earlier call; only `id`, its first noun, and `card` are given.
    `replayed`: that earlier call was another request's, not a repetition of our own.
    """

    id: UUID
    recalled: bool = False
    replayed: bool = False
    card: UUID | None = None
    currency: str = ""
    amount: int = 0
    part: int | None = None  # of a refund the total returned; of a hold what was captured
    balance: int = 0
    held: int = 0
    state: str = ""
    expires_at: datetime | None = None
    noun: UUID | None = None  # the redemption that was refunded, or that a capture made
    sequence: int | None = None
    at: datetime | None = None
    position: str = ""


class Ledger:
    """The door to the money of existing cards."""

    def __init__(
        self, database: Database, told: Callable[[set[UUID]], None] = ignore_merchants
    ) -> None:
        self._lanes = PostingBatcher(database, _call_arguments, _SQL, told)

    async def post(self, posting: Posting) -> PostResult:
        """Post one item; concurrent calls share a transaction.

        Raises the refusals of `ledger.refusals`, Overloaded (nothing happened) and OutcomeUnknown
        (repeat with the same key).
        """
        row, position = await self._lanes.submit(posting)
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
        """Post many items of one request; each is answered, or refused, on its own."""
        answers: list[PostResult | Refusal] = []
        for posting, answer in zip(postings, await self._lanes.submit_all(postings), strict=True):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                answers.append(_posted(posting, *answer))
            except Refusal as refusal:
                answers.append(refusal)
        instead = {
            at: posting.previous_pepper
            for at, (posting, answer) in enumerate(zip(postings, answers, strict=True))
            if posting.previous_pepper is not None and isinstance(answer, _UNKNOWN)
        }
        if instead:
            found = await self.post_all(list(instead.values()))
            for at, answer in zip(instead, found, strict=True):
                answers[at] = answers[at] if isinstance(answer, _UNKNOWN) else answer
        return answers

    async def settle(self) -> None:
        await self._lanes.settle()

    def waiting(self) -> int:
        return self._lanes.waiting()


async def post_in(tx: Tx, postings: list[Posting]) -> list[str]:
    """Post in a transaction of the caller's own; return the outcomes. For work in the background:
    what is held elsewhere is `busy`, and comes again.
    """
    rows = await tx.all(_SQL, *_call_arguments(postings, LOCK_TIMEOUT_MS))
    return [row["outcome"] for row in rows]


def _posted(posting: Posting, row: Row, position: str) -> PostResult:
    """What a row of the ledger's answer means. Raises its refusal."""
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
        param = _blamed(outcome, posting, row["noun"])
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


def _blamed(outcome: str, posting: Posting, blamed: UUID | None) -> str | None:
    """The field that a refusal is about. A transfer has two cards: `blamed` is the one that would
    be paid where it is to blame.
    """
    if posting.op == "transfer":
        if outcome in _OF_NO_CARD:
            return None
        paid = outcome in {"currency_mismatch", "balance_limit_exceeded"}
        return "to" if paid or blamed == posting.other else "from"
    return "currency" if outcome == "currency_mismatch" else None


def _detail(refusal: type[Refusal], param: str | None, posting: Posting) -> str | None:
    """The sentence of a refusal, where its title does not say which card it is about."""
    if posting.op != "transfer" or param is None:
        return None
    card = posting.other if param == "to" else posting.card
    return None if card is None else f"{param} {ids.show_id('crd', card)}: {refusal.title()}"


def _call_arguments(items: list[Posting], patience_ms: int) -> list[object]:
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
        patience_ms,
    ]
