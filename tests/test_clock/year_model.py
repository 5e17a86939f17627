"""Year model: what becomes of cards, holds and messages, from the rules in the documents alone."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

REMINDED_DAYS = (30, 7)


@dataclass(slots=True)
class ModelHold:
    card: str
    amount: int
    expires_at: datetime
    state: str = "open"


@dataclass(slots=True)
class ModelCard:
    balance: int
    expires_at: datetime
    address: str
    state: str = "active"


@dataclass(slots=True)
class ModelMessage:
    card: str
    kind: Literal["gift", "reminder"]
    due_at: datetime
    state: str = "waiting"


@dataclass(slots=True)
class Model:
    """What a merchant's cards, holds and messages should be, from the rules in the documents alone.
    `now`: until when time has passed.
    """

    now: datetime
    cards: dict[str, ModelCard] = field(default_factory=dict[str, ModelCard])
    holds: dict[str, ModelHold] = field(default_factory=dict[str, ModelHold])
    messages: list[ModelMessage] = field(default_factory=list[ModelMessage])
    breakage: int = 0

    def held(self, card: str) -> int:
        return sum(
            each.amount
            for each in self.holds.values()
            if each.card == card and each.state == "open"
        )

    def pass_time(self, to: datetime) -> None:
        """Expire holds and cards and send messages at their times, in their order."""
        due = [(each.expires_at, 0, name) for name, each in self.holds.items()]
        due += [(each.expires_at, 1, name) for name, each in self.cards.items()]
        # A reminder is made in the night, if there is something to be reminded of.
        due += [
            (each.expires_at - timedelta(days=days), 2, name)
            for name, each in self.cards.items()
            for days in REMINDED_DAYS
        ]
        for at, kind, name in sorted(due):
            if at > to:
                break
            self._send_until(at)
            if kind == 2 and at > self.now and self.is_worth_a_message(name):
                self.messages.append(ModelMessage(name, "reminder", at + timedelta(hours=9)))
            elif kind == 0 and self.holds[name].state == "open":
                self.holds[name].state = "expired"
                self._lapse(self.holds[name].card, self.cards[self.holds[name].card].state)
            elif kind == 1 and self.cards[name].state == "active":
                self.cards[name].state = "expired"
                self._lapse(name, "expired")
        self._send_until(to)
        self.now = to

    def is_worth_a_message(self, name: str) -> bool:
        return self.cards[name].state == "active" and self.cards[name].balance > 0

    def _send_until(self, at: datetime) -> None:
        for each in self.messages:
            if each.state == "waiting" and each.due_at <= at:
                each.state = "sent" if self.is_worth_a_message(each.card) else "cancelled"

    def _lapse(self, name: str, state: str) -> None:
        """What is not held of an expired card goes to breakage."""
        if state == "expired":
            card = self.cards[name]
            free = card.balance - self.held(name)
            self.breakage += free
            card.balance -= free
