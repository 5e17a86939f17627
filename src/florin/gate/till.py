"""Till: one sequence of random, valid requests with a card of its own."""

import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from florin.gate.client import CheckAnswer, CheckClient
from florin.gate.load_log import LoadLog, LoggedCard
from florin.gate.merchant import CURRENCY, CheckMerchant

FUNDS = 200_000  # minor units on a card
_ENTRIES_MOST = 400  # then the till takes another card
_NEAR = 8  # a transfer goes to one of so many latest cards
_READ_SHARE, _LOOKUP_SHARE, _OWN_SHARE = 0.5, 0.5, 0.3
_MADE = (200, 201)
_BASE = "/api/v1"
_READS = (
    *("/cards", "/entries", "/redemptions", "/refunds", "/holds", "/loads", "/transfers"),
    *("/adjustments", "/programs", "/merchant", "/auth/me", "/events", "/ledger/balances"),
    *("/ledger/proof", "/jobs"),
)


class CheckTill:
    """Sends requests one after the other and logs each."""

    def __init__(
        self, client: CheckClient, merchant: CheckMerchant, log: LoadLog, choose: random.Random
    ) -> None:
        self._client, self._merchant, self._log, self._random = client, merchant, log, choose
        self._card: LoggedCard | None = None
        self._redemption: tuple[str, int, LoggedCard] | None = None
        self._money: tuple[Callable[[LoggedCard], Awaitable[None]], ...] = (
            *(self._redeem, self._redeem, self._redeem_batch, self._refund, self._capture),
            *(self._void, self._load, self._transfer, self._adjust),
        )

    async def step(self) -> None:
        """Send one request, or the few that belong together."""
        card = self._card
        if card is None or len(card.booked) > _ENTRIES_MOST:
            self._card = await self._issue()
        elif self._random.random() < _READ_SHARE:
            await self._read(card)
        else:
            await self._random.choice(self._money)(card)

    async def _issue(self) -> LoggedCard | None:
        body = {"program": self._merchant.program, "amount": FUNDS}
        answer = await self._send("POST", "/cards", body)
        if not answer.ok:
            return None
        card = LoggedCard(answer.document["id"], answer.document["code"], booked=[FUNDS])
        self._log.cards.append(card)
        self._log.expect("the balance of a new card", answer.document.get("balance"), FUNDS)
        return card

    async def _read(self, card: LoggedCard) -> None:
        if self._random.random() < _LOOKUP_SHARE:
            await self._send("POST", "/cards/lookup", {"code": card.code})
        elif self._random.random() < _OWN_SHARE:
            more = self._random.choice(("", "/entries"))
            await self._send("GET", f"/cards/{card.id}{more}", route=f"/cards/{{card}}{more}")
        else:
            await self._send("GET", self._random.choice(_READS))

    async def _redeem(self, card: LoggedCard) -> None:
        amount = self._random.randrange(1, 50)
        answer = await self._book("/redemptions", self._spend(card, amount), card, -amount)
        if answer.ok:
            self._redemption = (answer.document["id"], amount, card)

    async def _redeem_batch(self, card: LoggedCard) -> None:
        amounts = [self._random.randrange(1, 20) for _ in range(3)]
        items = [
            self._spend(card, amount) | {"idempotency_key": f"gate-{uuid.uuid4()}"}
            for amount in amounts
        ]
        answer = await self._send("POST", "/redemptions/batch", {"redemptions": items})
        results: list[Any] = answer.document["data"] if answer.ok else [None] * len(items)
        for item, amount in zip(results, amounts, strict=True):
            if item is None or item["status"] in _MADE:
                card.log(-amount, answer)
                continue
            problem = CheckAnswer(item["status"], {}, str(item.get("problem"))[:200])
            card.log(-amount, problem)
            self._log.record("POST /redemptions/batch", problem)

    async def _refund(self, card: LoggedCard) -> None:
        if self._redemption is None:
            await self._redeem(card)
            return
        name, amount, of = self._redemption
        self._redemption = None
        await self._book("/refunds", {"redemption": name, "amount": amount}, of, amount)

    async def _hold(self, card: LoggedCard, amount: int) -> str | None:
        answer = await self._send("POST", "/holds", self._spend(card, amount))
        return answer.document["id"] if answer.ok else None

    async def _capture(self, card: LoggedCard) -> None:
        amount = self._random.randrange(2, 50)
        if hold := await self._hold(card, amount):
            part, route = amount // 2, "/holds/{hold}/capture"
            answer = await self._send("POST", f"/holds/{hold}/capture", {"amount": part}, route)
            card.log(-part, answer)
            if answer.ok:
                self._log.expect("a captured amount", answer.document.get("captured"), part)

    async def _void(self, card: LoggedCard) -> None:
        if hold := await self._hold(card, self._random.randrange(1, 50)):
            await self._send("POST", f"/holds/{hold}/void", {}, "/holds/{hold}/void")

    async def _load(self, card: LoggedCard) -> None:
        amount = self._random.randrange(1, 50)
        await self._book("/loads", {"card": card.id, "amount": amount}, card, amount)

    async def _transfer(self, card: LoggedCard) -> None:
        others = [other for other in self._log.cards[-_NEAR:] if other is not card]
        if others:
            to, amount = self._random.choice(others), self._random.randrange(1, 50)
            body = {"from": card.id, "to": to.id, "amount": amount}
            to.log(amount, await self._book("/transfers", body, card, -amount))

    async def _adjust(self, card: LoggedCard) -> None:
        amount = self._random.choice((-3, -2, -1, 1, 2, 3))
        body = {"card": card.id, "amount": amount, "reason": "deployment check"}
        await self._book("/adjustments", body, card, amount)

    def _spend(self, card: LoggedCard, amount: int) -> dict[str, Any]:
        return {"code": card.code, "amount": amount, "currency": CURRENCY}

    async def _book(
        self, path: str, body: dict[str, Any], card: LoggedCard, amount: int
    ) -> CheckAnswer:
        """Send a request that books `amount` on the card; only adjustments answer a sign."""
        answer = await self._send("POST", path, body)
        card.log(amount, answer)
        if answer.ok:
            wanted = amount if path == "/adjustments" else abs(amount)
            self._log.expect(f"the amount of {path}", answer.document.get("amount"), wanted)
        return answer

    async def _send(
        self, method: str, path: str, body: object = None, route: str = ""
    ) -> CheckAnswer:
        answer = await self._client.send(method, f"{_BASE}{path}", body)
        self._log.record(f"{method} {route or path}", answer)
        return answer
