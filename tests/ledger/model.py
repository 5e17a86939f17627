"""A model of the ledger in plain Python, with which the database must agree.

It has no SQL, batches or locks: it executes one operation after another on dictionaries. It gives
the outcome of an operation, and the state of every card, hold and key afterwards. It was written
from the interface (amounts in minor units, refusals by code), not from the ledger's code.
"""

from calendar import monthrange
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

LIMIT = 9_000_000_000_000_000


@dataclass
class Card:
    merchant: str
    currency: str
    partial: bool
    face: int
    state: str
    expires_at: float | None
    balance: int = 0
    holds: dict[Hashable, int] = field(default_factory=dict)  # open ones
    entries: list[tuple[str, int, int]] = field(default_factory=list)  # kind, change, balance after
    events: list[str] = field(default_factory=list)
    in_breakage: int = 0
    blocked: bool = False  # also while it is expired

    @property
    def held(self) -> int:
        return sum(self.holds.values())

    @property
    def available(self) -> int:
        return self.balance - self.held

    def move(self, kind: str, change: int) -> None:
        self.balance += change
        self.entries.append((kind, change, self.balance))


@dataclass
class Hold:
    card: Hashable
    amount: int
    expires_at: float
    state: str = "open"
    captured: int = 0


@dataclass
class Redemption:
    card: Hashable
    amount: int
    refunded: int = 0


@dataclass(kw_only=True)
class Op:
    """One operation. `card`, `other` and `id` are names; an unknown name refers to nothing."""

    kind: str
    merchant: str
    id: UUID
    card: UUID | None = None
    other: UUID | None = None
    amount: int | None = None
    currency: str | None = None
    remainder: bool = False
    simulate: bool = False
    expires_in: int | None = None
    key: str | None = None

    def body(self) -> tuple[object, ...]:
        return (
            self.kind,
            self.card,
            self.other,
            self.amount,
            self.currency,
            self.remainder,
            self.expires_in,
        )


Outcome = tuple[str, int | None, int | None]  # ok, a refusal, replayed; amount; balance after


def end_of_life(start: float, months: int | None) -> float | None:
    """The end of the day (UTC) that many months later, as seconds since 1970."""
    if months is None:
        return None
    day = datetime.fromtimestamp(start, UTC).date()
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = monthrange(year, month + 1)[1]
    end = datetime(year, month + 1, min(day.day, last), tzinfo=UTC) + timedelta(days=1)
    return end.timestamp()


class Model:
    """All cards of all merchants, and one clock for each merchant (seconds)."""

    def __init__(self) -> None:
        self.cards: dict[Hashable, Card] = {}
        self.holds: dict[Hashable, Hold] = {}
        self.redemptions: dict[Hashable, Redemption] = {}
        self.keys: dict[tuple[str, str], tuple[tuple[object, ...], Hashable]] = {}
        self.clocks: dict[str, float] = {}
        self.months: dict[Hashable, int | None] = {}  # how long a card lives, by card

    def apply(self, op: Op) -> tuple[Outcome, Hashable]:
        """What comes of it, and the name of the noun that answers."""
        named = (op.merchant, op.key) if op.key is not None and not op.simulate else None
        if named is not None and named in self.keys:
            body, noun = self.keys[named]
            return ("replayed" if body == op.body() else "idempotency_key_reused", None, None), noun
        outcome = self._decide(op)
        if outcome[0] == "ok" and named is not None:
            self.keys[named] = (op.body(), op.id)
        return outcome, op.id

    def _decide(self, op: Op) -> Outcome:
        name = op.card
        if op.kind == "refund":
            redemption = self.redemptions.get(op.other)
            if redemption is None or self.cards[redemption.card].merchant != op.merchant:
                return "redemption_not_found", None, None
            name = redemption.card
        elif op.kind in {"capture", "void"}:
            hold = self.holds.get(op.other)
            if hold is None or self.cards[hold.card].merchant != op.merchant:
                return "hold_not_found", None, None
            name = hold.card
        card = self.cards.get(name)
        if card is None or card.merchant != op.merchant:
            return "card_not_found", None, None
        to = self.cards.get(op.other) if op.kind == "transfer" else None
        if op.kind == "transfer" and (to is None or to.merchant != op.merchant):
            return "card_not_found", None, None
        now = self.clocks[op.merchant]
        for each in (card, to):
            if each is not None:
                self._free_due(each, now)
        return getattr(self, f"_{op.kind}")(op, card, to, name, now)

    def _free_due(self, card: Card, now: float) -> None:
        for name in [n for n in card.holds if self.holds[n].expires_at <= now]:
            del card.holds[name]
            self.holds[name].state = "expired"
            card.events.append("hold.expired")

    @staticmethod
    def _state(card: Card, now: float) -> str:
        due = card.expires_at is not None and card.expires_at <= now
        return "expired" if card.state in {"active", "blocked"} and due else card.state

    def _not_spendable(self, card: Card, now: float) -> str | None:
        state = self._state(card, now)
        if state == "active":
            return None
        return "card_not_active" if state == "pending" else f"card_{state}"

    def _spend(self, op: Op, card: Card, now: float) -> tuple[str | None, int]:
        """Why not, or how much."""
        assert op.amount is not None
        if op.currency is not None and op.currency != card.currency:
            return "currency_mismatch", 0
        why = self._not_spendable(card, now)
        if why is not None:
            return why, 0
        amount = min(op.amount, card.available) if op.remainder else op.amount
        if amount > card.available or amount == 0:
            return "insufficient_funds", 0
        if not card.partial and amount != card.balance:
            return "partial_redemption_not_allowed", 0
        return None, amount

    def _redeem(self, op: Op, card: Card, _to: Card | None, name: Hashable, now: float) -> Outcome:
        why, amount = self._spend(op, card, now)
        if why is not None:
            return why, None, None
        if op.simulate:
            return "ok", amount, card.balance - amount
        card.move("redeem", -amount)
        card.events.append("card.redeemed")
        self.redemptions[op.id] = Redemption(name, amount)
        return "ok", amount, card.balance

    def _hold(self, op: Op, card: Card, _to: Card | None, name: Hashable, now: float) -> Outcome:
        why, amount = self._spend(op, card, now)
        if why is not None:
            return why, None, None
        assert op.expires_in is not None
        card.holds[op.id] = amount
        card.events.append("hold.created")
        self.holds[op.id] = Hold(name, amount, now + op.expires_in)
        return "ok", amount, card.balance

    def _capture(self, op: Op, card: Card, _to: Card | None, name: Hashable, now: float) -> Outcome:
        hold = self.holds[op.other]
        if hold.state != "open":
            return "hold_not_open", None, None
        amount = hold.amount if op.amount is None else op.amount
        if amount > hold.amount:
            return "capture_exceeds_hold", None, None
        if card.blocked and self._state(card, now) in {"blocked", "expired"}:
            return "card_blocked", None, None
        if not card.partial and amount != hold.amount:
            return "partial_redemption_not_allowed", None, None
        del card.holds[op.other]
        hold.state, hold.captured = "captured", amount
        card.move("redeem", -amount)
        card.events += ["card.redeemed", "hold.captured"]
        self.redemptions[op.id] = Redemption(name, amount)
        return "ok", hold.amount, card.balance

    def _void(self, op: Op, card: Card, _to: Card | None, _name: Hashable, _now: float) -> Outcome:
        hold = self.holds[op.other]
        if hold.state != "open":
            return "hold_not_open", None, None
        del card.holds[op.other]
        hold.state = "voided"
        card.events.append("hold.voided")
        return "ok", hold.amount, card.balance

    def _refund(self, op: Op, card: Card, _to: Card | None, _name: Hashable, _n: float) -> Outcome:
        redemption = self.redemptions[op.other]
        left = redemption.amount - redemption.refunded
        amount = left if op.amount is None else op.amount
        if card.state == "closed":
            return "card_closed", None, None
        if amount > left or amount == 0:
            return "refund_exceeds_redemption", None, None
        redemption.refunded += amount
        card.move("refund", amount)
        card.events.append("card.refunded")
        return "ok", amount, card.balance

    def _load(self, op: Op, card: Card, _to: Card | None, _name: Hashable, now: float) -> Outcome:
        assert op.amount is not None
        why = self._not_spendable(card, now)
        if why is None and card.balance + op.amount > LIMIT:
            why = "balance_limit_exceeded"
        if why is not None:
            return why, None, None
        card.move("load", op.amount)
        card.events.append("card.loaded")
        return "ok", op.amount, card.balance

    def _adjust(self, op: Op, card: Card, _to: Card | None, _name: Hashable, now: float) -> Outcome:
        assert op.amount is not None
        why = self._not_spendable(card, now)
        if why is None and -op.amount > card.available:
            why = "insufficient_funds"
        if why is None and card.balance + op.amount > LIMIT:
            why = "balance_limit_exceeded"
        if why is not None:
            return why, None, None
        card.move("adjust", op.amount)
        card.events.append("card.adjusted")
        return "ok", op.amount, card.balance

    def _transfer(
        self, op: Op, card: Card, to: Card | None, _name: Hashable, now: float
    ) -> Outcome:
        assert op.amount is not None
        assert to is not None
        why = self._not_spendable(card, now) or self._not_spendable(to, now)
        if why is None and card.currency != to.currency:
            why = "currency_mismatch"
        if why is None and op.amount > card.available:
            why = "insufficient_funds"
        if why is None and not card.partial and op.amount != card.balance:
            why = "partial_redemption_not_allowed"
        if why is None and to.balance + op.amount > LIMIT:
            why = "balance_limit_exceeded"
        if why is not None:
            return why, None, None
        card.move("transfer", -op.amount)
        card.events.append("card.transferred")
        to.move("transfer", op.amount)
        to.events.append("card.transferred")
        return "ok", op.amount, card.balance

    def _activate(
        self, _op: Op, card: Card, _t: Card | None, name: Hashable, now: float
    ) -> Outcome:
        state = self._state(card, now)
        if state == "active":
            return "ok", None, card.balance
        if state != "pending":
            return f"card_{state}", None, None
        card.state = "active"
        card.expires_at = end_of_life(now, self.months[name])
        card.move("activate", card.face)
        card.events.append("card.activated")
        return "ok", card.face, card.balance

    def _block(self, _op: Op, card: Card, _t: Card | None, _n: Hashable, now: float) -> Outcome:
        state = self._state(card, now)
        if state not in {"active", "blocked", "expired"}:
            return self._not_spendable(card, now) or "", None, None
        if not card.blocked:
            card.blocked = True
            card.events.append("card.blocked")
            if state == "active":
                card.state = "blocked"
        return "ok", None, card.balance

    def _unblock(self, _op: Op, card: Card, _t: Card | None, _n: Hashable, now: float) -> Outcome:
        state = self._state(card, now)
        if state not in {"active", "blocked", "expired"}:
            return self._not_spendable(card, now) or "", None, None
        if card.blocked:
            card.blocked = False
            card.events.append("card.unblocked")
            if state == "blocked":
                card.state = "active"
        return "ok", None, card.balance

    def _close(self, _op: Op, card: Card, _t: Card | None, _n: Hashable, _now: float) -> Outcome:
        if card.state != "closed":
            if card.balance or card.held:
                return "card_not_empty", None, None
            card.state = "closed"
            card.events.append("card.closed")
        return "ok", None, card.balance

    def _expire(self, _op: Op, card: Card, _t: Card | None, _n: Hashable, now: float) -> Outcome:
        due = card.expires_at is not None and card.expires_at <= now
        if card.state == "expired" or (card.state in {"active", "blocked"} and due):
            free = card.available
            if card.state != "expired" or free:
                card.events.append("card.expired")
            card.state = "expired"
            if free:
                card.in_breakage += free
                card.move("expire", -free)
            return "ok", free or None, card.balance
        if card.state == "active":
            return "card_not_due", None, None
        return self._not_spendable(card, now) or "", None, None

    def _reinstate(
        self, op: Op, card: Card, _t: Card | None, name: Hashable, now: float
    ) -> Outcome:
        del op
        state = self._state(card, now)
        if state == "active":
            return "ok", None, card.balance
        if state != "expired":
            return self._not_spendable(card, now) or "", None, None
        card.state = "blocked" if card.blocked else "active"
        card.expires_at = end_of_life(now, self.months[name])
        back, card.in_breakage = card.in_breakage, 0
        if back:
            card.move("reinstate", back)
        card.events.append("card.reinstated")
        return "ok", back or None, card.balance
