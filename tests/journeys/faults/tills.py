"""Tills under faults: clients that log their requests and the responses.

A till repeats a request, under the same key, until it gets an answer that says what happened: a
success, or a refusal of the request itself. Cut connections, time-outs and 503 are no answer.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]

_PAUSE_S = 0.05
_ANSWERED_WITHIN_S = 120


@dataclass(slots=True)
class Call:
    """One request and its response. Interrupted `tries` may have had their effect."""

    path: str
    body: Json | None
    key: str
    status: int = 0
    answer: Json = field(default_factory=dict)
    tries: int = 0
    replayed: bool = False

    @property
    def happened(self) -> bool:
        return self.status in {200, 201}


@dataclass(slots=True)
class Log:
    """The log of all tills."""

    cards: dict[str, Json] = field(default_factory=dict)  # by id, as issued, with their codes
    calls: list[Call] = field(default_factory=list)
    items: list[tuple[Json, int, Json]] = field(default_factory=list)  # of batches
    interrupted: int = 0

    @property
    def answered(self) -> int:
        return len(self.calls) + len(self.items)

    def summary(self) -> str:
        statuses = Counter(call.status for call in self.calls)
        recovered = sum(call.replayed for call in self.calls)
        return (
            f"{self.answered} answers {dict(statuses)}, {self.interrupted} interrupted,"
            f" {recovered} had happened before their answer was lost"
        )


class Till:
    """One client that alternates between the instances."""

    def __init__(
        self, clients: list[httpx.AsyncClient], program: str, log: Log, *, seed: int
    ) -> None:
        self._clients = clients
        self._program = program
        self._log = log
        self._pick = random.Random(seed)
        self._redeemed: list[str] = []

    async def work(self, stop: asyncio.Event) -> None:
        """Sell, spend, hold and refund until `stop` is set; the last request is still settled."""
        verbs = [self._redeem] * 4 + [self._load] * 2 + [self._hold] * 2 + [self._transfer] * 2
        verbs += [self._refund, self._adjust, self._batch, self.sell, self._sell_later]
        while not stop.is_set():
            await self._pick.choice(verbs)()

    async def sell(self) -> None:
        sold = await self._ask("/cards", {"program": self._program, "amount": 5000})
        # Also to a repeated request the code is shown: its first answer may have been lost.
        assert sold.answer["code"] is not None, sold
        self._log.cards[sold.answer["id"]] = sold.answer

    async def _sell_later(self) -> None:
        body = {"program": self._program, "amount": 700, "activate": False}
        card = (await self._ask("/cards", body)).answer
        self._log.cards[card["id"]] = card
        await self._ask(f"/cards/{card['id']}/activate", None)

    async def _redeem(self) -> None:
        card = self._card()
        named = {"code": card["code"]} if self._pick.random() < 0.5 else {"card": card["id"]}
        body = {**named, "amount": self._amount(), "currency": "EUR"}
        if self._pick.random() < 0.2:
            body["allow_remainder"] = True
        spent = await self._ask("/redemptions", body)
        if spent.happened:
            self._redeemed.append(spent.answer["id"])

    async def _load(self) -> None:
        await self._ask("/loads", {"card": self._card()["id"], "amount": self._amount()})

    async def _adjust(self) -> None:
        amount = self._pick.choice((-1, 1)) * self._amount()
        body = {"card": self._card()["id"], "amount": amount, "reason": "counted again"}
        await self._ask("/adjustments", body)

    async def _transfer(self) -> None:
        one, other = self._pick.sample(sorted(self._log.cards), 2)
        await self._ask("/transfers", {"from": one, "to": other, "amount": self._amount()})

    async def _refund(self) -> None:
        if self._redeemed:
            body = {"redemption": self._pick.choice(self._redeemed), "amount": self._amount() // 3}
            await self._ask("/refunds", body)

    async def _hold(self) -> None:
        body = {"card": self._card()["id"], "amount": self._amount() + 1, "currency": "EUR"}
        held = await self._ask("/holds", body)
        if held.happened:
            path = f"/holds/{held.answer['id']}"
            resolve = self._pick.choice(
                (("capture", None), ("capture", {"amount": 1}), ("void", None), None)
            )
            if resolve is not None:
                await self._ask(f"{path}/{resolve[0]}", resolve[1])

    async def _batch(self) -> None:
        """Send a batch, repeated as a whole until every item has a response."""
        items = [
            {"card": self._card()["id"], "amount": self._amount(), "currency": "EUR",
             "idempotency_key": uuid.uuid4().hex}
            for _ in range(8)
        ]  # fmt: skip
        while True:
            said = await self._settled("/redemptions/batch", {"redemptions": items}, None)
            # The balancer repeats no batch: what was in flight with a killed instance is answered
            # 502 or 504, of unknown outcome, and repeated by its client.
            found: Json = {"data": []} if said.status_code in {502, 504} else said.json()
            lines: list[Json] = found["data"]
            if lines and all(line["status"] != 503 for line in lines):
                break
            self._log.interrupted += 1
            await asyncio.sleep(_PAUSE_S)
        for item, line in zip(items, lines, strict=True):
            answer = line.get("redemption") or line["problem"]
            self._log.items.append((item, line["status"], answer))

    def _card(self) -> Json:
        return self._log.cards[self._pick.choice(sorted(self._log.cards)[:24])]

    def _amount(self) -> int:
        return self._pick.randrange(3, 400)

    async def _ask(self, path: str, body: Json | None) -> Call:
        call = Call(path, body, uuid.uuid4().hex)
        said = await self._settled(path, body, call)
        call.status, call.answer = said.status_code, said.json()
        call.replayed = "idempotency-replayed" in said.headers
        assert call.happened or call.status == 402, (call, said.text)
        self._log.calls.append(call)
        return call

    async def _settled(self, path: str, body: Json | None, call: Call | None) -> httpx.Response:
        headers = {} if call is None else {"Idempotency-Key": call.key}
        async with asyncio.timeout(_ANSWERED_WITHIN_S):
            while True:
                if call is not None:
                    call.tries += 1
                client = self._pick.choice(self._clients)
                try:
                    said = await client.post(path, json=body, headers=headers)
                    if said.status_code != 503:
                        return said
                    assert "retry-after" in said.headers, said.text
                except httpx.TransportError:
                    pass
                self._log.interrupted += 1
                await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def working_tills(
    https: list[httpx.AsyncClient], program: str, *, count: int, seed: int
) -> AsyncGenerator[Log]:
    """Let tills sell cards and work during the block; after it, each finishes its request."""
    print(f"seed {seed}")
    log, stop = Log(), asyncio.Event()
    tills = [Till(https, program, log, seed=seed + n) for n in range(count)]
    await asyncio.gather(*(till.sell() for till in tills))
    working = [asyncio.ensure_future(till.work(stop)) for till in tills]
    try:
        yield log
        stop.set()
        await asyncio.gather(*working)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
