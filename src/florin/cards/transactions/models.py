"""Models: the transactions, holds and entries that the API returns, each read from a ledger row.

A redemption, refund, load, transfer or adjustment is a row of `transfer`: money that moved between
two accounts. A row never changes, so a transaction is the same whenever it is read; only `refunded`
of a redemption grows.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from florin.kit import ids


class Redemption(msgspec.Struct, kw_only=True):
    """Money spent from a card. `balance`: the card's afterwards. `refunded`: returned so far."""

    id: str
    object: Literal["redemption"] = "redemption"
    card: str
    amount: int
    currency: str
    balance: int
    refunded: int = 0
    hold: str | None = None
    reference: str | None = None
    location: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class Refund(msgspec.Struct, kw_only=True):
    """Money returned to the card it was spent from."""

    id: str
    object: Literal["refund"] = "refund"
    redemption: str
    card: str
    amount: int
    currency: str
    balance: int
    reference: str | None = None
    location: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class Load(msgspec.Struct, kw_only=True):
    """Money added to a card."""

    id: str
    object: Literal["load"] = "load"
    card: str
    amount: int
    currency: str
    balance: int
    reference: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class Transfer(msgspec.Struct, kw_only=True):
    """Money moved from one card to another. The balances are those of the two cards afterwards."""

    id: str
    object: Literal["transfer"] = "transfer"
    from_: str = msgspec.field(name="from")
    to: str
    amount: int
    currency: str
    from_balance: int
    to_balance: int
    reference: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class Adjustment(msgspec.Struct, kw_only=True):
    """A manual correction, with its reason. A negative amount lowered the balance."""

    id: str
    object: Literal["adjustment"] = "adjustment"
    card: str
    amount: int
    currency: str
    balance: int
    reason: str
    reference: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class CashOut(msgspec.Struct, kw_only=True):
    """The balance of a card, or a part of it, paid to its holder in cash."""

    id: str
    object: Literal["cash_out"] = "cash_out"
    card: str
    amount: int
    currency: str
    balance: int
    reference: str | None = None
    location: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime


class Hold(msgspec.Struct, kw_only=True):
    """Money reserved on a card until the hold is captured, voided or expires."""

    id: str
    object: Literal["hold"] = "hold"
    card: str
    state: Literal["open", "captured", "voided", "expired"]
    amount: int
    captured: int
    currency: str
    redemption: str | None = None
    reference: str | None = None
    location: str | None = None
    metadata: dict[str, str] = {}
    expires_at: datetime
    created_at: datetime


class Entry(msgspec.Struct, kw_only=True):
    """One line of a card's statement. `sequence` numbers a card's entries without gaps."""

    id: str
    object: Literal["entry"] = "entry"
    card: str
    kind: str
    amount: int
    currency: str
    balance_after: int
    sequence: int
    actor: str
    reference: str | None = None
    location: str | None = None
    reason: str | None = None
    source: str | None = None  # the id of the transaction that caused it
    metadata: dict[str, str] = {}
    created_at: datetime


HoldState = Literal["open", "captured", "voided", "expired"]
EntryKind = Literal[
    "issue",
    "activate",
    "load",
    "redeem",
    "refund",
    "transfer",
    "adjust",
    "expire",
    "reinstate",
    "clawback",
    "giveback",
    "dispute",
    "cash_out",
]
PREFIXES = {
    "redeem": "red",
    "refund": "rfd",
    "load": "lod",
    "transfer": "trf",
    "adjust": "adj",
    "cash_out": "cso",
}

Transaction = Redemption | Refund | Load | Transfer | Adjustment | CashOut


def transaction_from_row(row: Mapping[str, Any]) -> Transaction:
    """Make the transaction of a `transfer` row. `refunded` is zero unless the row includes it."""
    kind: str = row["kind"]
    common: dict[str, Any] = {
        "id": ids.show_id(PREFIXES[kind], row["id"]),
        "amount": row["amount"],
        "currency": row["currency"],
        "metadata": decode_metadata(row["metadata"]),
        "created_at": row["created_at"],
    }
    debited, credited = row["debit_card"], row["credit_card"]
    if kind == "transfer":
        return Transfer(
            from_=ids.show_id("crd", debited),
            to=ids.show_id("crd", credited),
            from_balance=row["debit_balance"],
            to_balance=row["credit_balance"],
            reference=row["reference"],
            **common,
        )
    common["card"] = ids.show_id("crd", debited or credited)
    common["balance"] = row["credit_balance"] if debited is None else row["debit_balance"]
    if kind == "adjust":
        if debited is not None:
            common["amount"] = -row["amount"]
        return Adjustment(reason=row["reason"], reference=row["reference"], **common)
    common["reference"] = row["reference"]
    if kind == "refund":
        redemption = ids.show_id("red", row["origin"])
        return Refund(redemption=redemption, location=row["location"], **common)
    if kind == "load":
        return Load(**common)
    if kind == "cash_out":
        return CashOut(location=row["location"], **common)
    return Redemption(
        hold=None if row["origin"] is None else ids.show_id("hld", row["origin"]),
        location=row["location"],
        refunded=row.get("refunded_so_far") or 0,
        **common,
    )


def hold_from_row(row: Mapping[str, Any]) -> Hold:
    redemption = row["redemption"]
    return Hold(
        id=ids.show_id("hld", row["id"]),
        card=ids.show_id("crd", row["card"]),
        state=row["state"],
        amount=row["amount"],
        captured=row["captured"],
        currency=row["currency"],
        redemption=None if redemption is None else ids.show_id("red", redemption),
        reference=row["reference"],
        location=row["location"],
        metadata=decode_metadata(row["metadata"]),
        expires_at=row["expires_at"],
        created_at=row["created_at"],
    )


def decode_metadata(text: str | None) -> dict[str, str]:
    return {} if text is None else msgspec.json.decode(text, type=dict[str, str])
