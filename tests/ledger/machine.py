"""The machine: random operations in random batches, on the database and on the model.

Both must agree on every outcome, amount and balance, and afterwards on every card, hold and
statement. A run is its seed: the same seed does the same.
"""

import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from florin.kit import ids
from tests.ledger import calls
from tests.ledger.model import Card, Model, Op, end_of_life

CARDS_ALIVE = 40  # few, so that operations often use the same card
BATCH_MAX = 60
_KINDS = (
    ("redeem", 34), ("hold", 12), ("capture", 9), ("void", 4), ("refund", 12), ("load", 6),
    ("adjust", 5), ("transfer", 8), ("activate", 3), ("block", 1), ("unblock", 8), ("close", 1),
    ("expire", 2), ("reinstate", 2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    uuid: UUID
    merchant: str
    currency: str
    partial: bool
    months: int | None


class Machine:
    """One run: `app` and `owner` are connections as these roles."""

    def __init__(self, app: Any, owner: Any, seed: int) -> None:
        self.app = app
        self.owner = owner
        self.random = random.Random(seed)
        self.model = Model()
        self.merchants: dict[str, UUID] = {}
        self.programs: list[Program] = []
        self.alive: list[UUID] = []
        self.recent: list[Op] = []
        self.nouns: dict[str, list[UUID]] = {"redeem": [], "hold": []}
        self.done = 0
        self.outcomes: dict[str, int] = {}

    async def set_up(self) -> None:
        for name in ("acme", "bistro", "corner"):
            self.merchants[name] = await calls.make_merchant(self.owner, test=True)
            # Half past noon in its time zone, so that no expiry is within the seconds of a run.
            now = datetime.now(UTC)
            noon = now.replace(hour=12, minute=30, second=0, microsecond=0)
            await self._set_clock(name, noon - now)
            self.model.clocks[name] = noon.timestamp()
            for currency, partial, months in (
                ("EUR", True, None), ("EUR", True, 1), ("EUR", False, 2), ("USD", True, None),
            ):  # fmt: skip
                uuid = await calls.make_program(
                    self.owner, self.merchants[name],
                    currency=currency, partial=partial, months=months,
                )  # fmt: skip
                self.programs.append(Program(uuid, name, currency, partial, months))

    async def run(self, operations: int) -> None:
        while self.done < operations:
            await self._issue_some()
            for _ in range(self.random.randint(5, 15)):
                await self._post_some()
            if self.random.random() < 0.3:
                await self._let_time_pass()
            await self.compare()

    async def _issue_some(self) -> None:
        """New cards take the places of old ones."""
        while len(self.alive) < CARDS_ALIVE:
            program = self.random.choice(self.programs)
            count = self.random.randint(1, 5)
            cards = [ids.new_id() for _ in range(count)]
            amounts = [self.random.choice((1, 50, 100, 1000, 10**9)) for _ in cards]
            active = [self.random.random() < 0.9 for _ in cards]
            rows = await calls.issue(
                self.app, self.merchants[program.merchant], program.uuid, cards, amounts,
                activate=active,
            )  # fmt: skip
            assert [row["outcome"] for row in rows] == ["ok"] * count
            now = self.model.clocks[program.merchant]
            for uuid, amount, is_active in zip(cards, amounts, active, strict=True):
                card = Card(
                    merchant=program.merchant, currency=program.currency, partial=program.partial,
                    face=amount, state="active" if is_active else "pending",
                    expires_at=end_of_life(now, program.months) if is_active else None,
                )  # fmt: skip
                card.events.append("card.issued")
                if is_active:
                    card.move("issue", amount)
                self.model.cards[uuid] = card
                self.model.months[uuid] = program.months
            self.alive += cards
        for _ in range(self.random.randint(0, 3)):
            self.alive.pop(self.random.randrange(len(self.alive)))

    async def _post_some(self) -> None:
        size = self.random.choice((1, 1, 2, 5, 10, 20, 40, BATCH_MAX))
        ops = [self._op() for _ in range(size)]
        self.recent = (self.recent + ops)[-120:]
        await self._send(ops)
        if self.random.random() < 0.05:  # the answer was lost: the identical call again
            await self._send([op for op in ops if op.key is not None])

    async def _send(self, ops: list[Op]) -> None:
        coded = frozenset(card for card in self.alive if self.random.random() < 0.3)
        rows = await calls.post(self.app, self.merchants, ops, by_code=coded)
        for n, (op, row) in enumerate(zip(ops, rows, strict=True)):
            (outcome, amount, balance), noun = self.model.apply(op)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            said = f"operation {self.done + n}: {op}: {dict(row)}"
            assert row["outcome"] == outcome, f"{said}, the model says {outcome}"
            if outcome == "ok":
                assert row["balance"] == balance, f"{said}, the model says {balance}"
                if amount is not None:
                    assert row["amount"] == amount, f"{said}, the model says {amount}"
                if op.kind in self.nouns and not op.simulate:
                    self.nouns[op.kind] = [*self.nouns[op.kind][-40:], op.id]
                if op.kind == "capture":
                    self.nouns["redeem"] = [*self.nouns["redeem"][-40:], op.id]
            elif outcome == "replayed":
                assert row["id"] == noun, said
        self.done += len(ops)

    def _op(self) -> Op:  # noqa: C901 -- a table of choices
        pick = self.random
        if self.recent and pick.random() < 0.12:
            return self._again(pick.choice(self.recent))
        kinds, weights = zip(*_KINDS, strict=True)
        kind = pick.choices(kinds, weights)[0]
        card = pick.choice(self.alive) if pick.random() < 0.98 else ids.new_id()
        known = self.model.cards.get(card)
        merchant = known.merchant if known is not None else "acme"
        if pick.random() < 0.02:
            merchant = pick.choice(list(self.merchants))  # possibly another merchant's
        op = Op(kind=kind, merchant=merchant, id=ids.new_id(), card=card)
        if pick.random() < 0.9:
            op.key = f"key-{pick.randrange(10**9)}"
        if kind in {"redeem", "hold", "load", "transfer"}:
            balance = known.balance if known is not None else 1
            op.amount = pick.choice((1, 7, 50, 99, 10**6, max(balance, 1)))
        if kind in {"redeem", "hold"}:
            currency = known.currency if known is not None else "EUR"
            op.currency = currency if pick.random() < 0.97 else "JPY"
        if kind == "redeem":
            op.remainder = pick.random() < 0.2
            op.simulate = pick.random() < 0.05
        elif kind == "hold":
            op.expires_in = 1800 + 3600 * pick.randrange(1, 100)
        elif kind == "transfer":
            others = [other for other in self.alive if other != card]
            op.other = pick.choice(others) if pick.random() < 0.97 else ids.new_id()
        elif kind == "adjust":
            op.amount = pick.choice((-(10**6), -50, -1, 1, 50))
        elif kind == "refund":
            self._of(op, self.nouns["redeem"])
            op.amount = pick.choice((None, 1, 7, 50, 10**6))
        elif kind in {"capture", "void"}:
            self._of(op, self.nouns["hold"])
            op.amount = pick.choice((None, None, 1, 7, 10**6)) if kind == "capture" else None
        return op

    def _of(self, op: Op, nouns: list[UUID]) -> None:
        """Let it name one of the nouns, by its own merchant."""
        op.card = None
        op.other = (
            self.random.choice(nouns) if nouns and self.random.random() < 0.98 else ids.new_id()
        )
        noun = self.model.redemptions.get(op.other) or self.model.holds.get(op.other)
        if noun is not None:
            op.merchant = self.model.cards[noun.card].merchant

    def _again(self, before: Op) -> Op:
        """The same request again, or another one under its key."""
        again = replace(before, id=ids.new_id())
        if self.random.random() < 0.25 and again.amount is not None:
            again.amount += 1 if again.amount != -1 else 5
        return again

    async def _let_time_pass(self) -> None:
        name = self.random.choice(list(self.merchants))
        hours = self.random.choice((1, 5, 30, 24 * 20))
        self.model.clocks[name] += hours * 3600
        await self._set_clock(name, timedelta(hours=hours))

    async def _set_clock(self, name: str, further: timedelta) -> None:
        await self.owner.execute(
            "update florin.merchant set clock_offset = clock_offset + $2 where id = $1",
            self.merchants[name],
            further,
        )

    async def compare(self) -> None:
        """Every card that lives is in the database what it is in the model."""
        rows = await self.app.fetch("select * from florin.account where id = any($1)", self.alive)
        assert len(rows) == len(self.alive)
        for row in rows:
            card = self.model.cards[row["id"]]
            assert (row["balance"], row["sequence"]) == (card.balance, len(card.entries)), row
            assert row["state"] == card.state, row
            assert row["blocked"] == card.blocked, row
            expires = row["expires_at"]
            assert (expires and expires.timestamp()) == card.expires_at, row
        await self._compare_statements()
        await self._compare_holds()

    async def _compare_statements(self) -> None:
        some = self.random.sample(self.alive, 5)
        rows = await self.app.fetch(
            "select debit_card as card, kind::text, -amount as change, debit_balance as after,"
            " debit_sequence as n from florin.transfer where debit_card = any($1) union all"
            " select credit_card, kind::text, amount, credit_balance, credit_sequence"
            " from florin.transfer where credit_card = any($1) order by n",
            some,
        )
        events = await self.app.fetch(
            "select card, type, sequence from florin.event where card = any($1) order by sequence",
            some,
        )
        for uuid in some:
            card = self.model.cards[uuid]
            mine = [(r["kind"], r["change"], r["after"]) for r in rows if r["card"] == uuid]
            assert mine == card.entries
            happened = [r for r in events if r["card"] == uuid]
            assert [r["sequence"] for r in happened] == list(range(1, len(happened) + 1))
            # The call that first sees an expired hold records its expiry.
            assert [r["type"] for r in happened if r["type"] != "hold.expired"] == [
                e for e in card.events if e != "hold.expired"
            ]

    async def _compare_holds(self) -> None:
        rows = await self.app.fetch(
            "select id, state::text, captured, expires_at from florin.hold where id = any($1)",
            self.nouns["hold"],
        )
        for row in rows:
            hold = self.model.holds[row["id"]]
            now = self.model.clocks[self.model.cards[hold.card].merchant]
            due = hold.expires_at <= now

            def seen(state: str, *, due: bool = due) -> str:
                return "expired" if state == "open" and due else state

            assert (seen(row["state"]), row["captured"]) == (seen(hold.state), hold.captured), row


async def run(app: Any, owner: Any, *, seed: int, operations: int) -> Machine:
    """Do that many operations; print what they were."""
    machine = Machine(app, owner, seed)
    started = time.monotonic()
    await machine.set_up()
    await machine.run(operations)
    seconds = time.monotonic() - started
    outcomes = ", ".join(f"{name} {n}" for name, n in sorted(machine.outcomes.items()))
    print(f"seed {seed}: {machine.done} operations in {seconds:.0f} s: {outcomes}")
    return machine
