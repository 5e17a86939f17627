"""Calling the ledger's functions from tests, many items at once."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from florin.kit import ids
from tests.ledger.model import Op

POST = "select * from post(" + ", ".join(f"${n}" for n in range(1, 21)) + ")"  # noqa: S608 -- numbers
ISSUE = "select * from issue(" + ", ".join(f"${n}" for n in range(1, 19)) + ")"  # noqa: S608 -- numbers
ACTOR = "key_test"


def fingerprint(body: object) -> bytes:
    return hashlib.sha256(repr(body).encode()).digest()


def code_hash(card: UUID) -> bytes:
    """Cards of tests are found by this instead of a code."""
    return hashlib.sha256(card.bytes).digest()


async def post(
    connection: Any,
    merchants: dict[str, UUID],
    ops: Sequence[Op],
    *,
    by_code: frozenset[UUID] = frozenset(),
    patience_ms: int = 10_000,
) -> list[Any]:
    """Post the operations in one call; those of cards in `by_code` name them by their code."""
    n = len(ops)
    coded = [op.card in by_code for op in ops]
    nothing: list[None] = [None] * n
    return await connection.fetch(
        POST,
        [merchants[op.merchant] for op in ops],
        [op.kind for op in ops],
        [op.id for op in ops],
        [ids.new_id() for _ in ops],
        [op.key for op in ops],
        [fingerprint(op.body()) for op in ops],
        [None if code else op.card for op, code in zip(ops, coded, strict=True)],
        [
            code_hash(op.card) if code and op.card is not None else None
            for op, code in zip(ops, coded, strict=True)
        ],
        [op.other for op in ops],
        [op.amount for op in ops],
        [op.currency for op in ops],
        [op.remainder for op in ops],
        [op.simulate for op in ops],
        [op.expires_in for op in ops],
        [ACTOR] * n,
        nothing,
        nothing,
        ["because" if op.kind == "adjust" else None for op in ops],
        nothing,
        patience_ms,
    )


async def issue(
    connection: Any,
    merchant: UUID,
    program: UUID,
    cards: Sequence[UUID],
    amounts: Sequence[int],
    *,
    activate: Sequence[bool],
    keys: Sequence[str | None] | None = None,
) -> list[Any]:
    """Issue cards in one call."""
    n = len(cards)
    nothing: list[None] = [None] * n
    return await connection.fetch(
        ISSUE,
        [merchant] * n,
        list(cards),
        [ids.new_id() for _ in cards],
        [ids.new_id() for _ in cards],
        list(keys) if keys is not None else nothing,
        [b"body"] * n,
        [program] * n,
        list(amounts),
        list(activate),
        [code_hash(card) for card in cards],
        ["TEST"] * n,
        nothing,
        nothing,
        nothing,
        [b"sealed"] * n,
        timedelta(hours=24),
        [ACTOR] * n,
        10_000,
    )


async def make_merchant(
    connection: Any, *, test: bool = False, currency: str = "EUR", zone: str = "UTC"
) -> UUID:
    merchant = ids.new_id()
    await connection.execute(
        "insert into florin.merchant (id, name, country, currency, timezone, test)"
        " values ($1, 'Acme', 'NL', $2, $3, $4)",
        merchant,
        currency,
        zone,
        test,
    )
    return merchant


async def make_program(
    connection: Any,
    merchant: UUID,
    *,
    currency: str = "EUR",
    partial: bool = True,
    months: int | None = None,
) -> UUID:
    program = ids.new_id()
    await connection.execute(
        "insert into florin.program (merchant, id, name, currency, min_amount, max_amount,"
        " expires_after_months, partial_redemption)"
        " values ($1, $2, 'Program', $3, 1, 1000000000000, $4, $5)",
        merchant,
        program,
        currency,
        months,
        partial,
    )
    return program


async def make_shop(owner: Any, count: int) -> tuple[UUID, list[UUID]]:
    """A merchant with so many cards of 1000."""
    merchant = await make_merchant(owner)
    program = await make_program(owner, merchant)
    cards = [ids.new_id() for _ in range(count)]
    await issue(owner, merchant, program, cards, [1000] * count, activate=[True] * count)
    return merchant, cards
