"""Constant rate: a client that sends requests at a constant rate and logs the outcome of each.

It uses keep-alive connections, for redemptions with keys and look-ups by code. It retries nothing:
every failed request counts. Afterwards the balance of every card must agree with the log.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from florin.ops.system import http_probe

FUNDS = 50_000  # minor units on a card; a demo program sells no more
_LOOKUPS = 0.4  # of the requests
_WITHIN_S = 40.0
_OK_BELOW = 300
_SERVER = 500

Kind = Literal["redeem", "lookup"]


@dataclass(frozen=True, slots=True)
class SoldCard:
    id: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request: time, kind, duration and status; status 0 means that no answer arrived.

    A redemption also has its key, and the id of the redemption that was made.
    """

    at: float
    kind: Kind
    amount: int
    seconds: float
    status: int
    answer: str = ""
    key: str = ""
    made: str = ""

    @property
    def failed(self) -> bool:
        return not 0 < self.status < _OK_BELOW

    @property
    def unknown(self) -> bool:
        """Whether the outcome is unknown: no answer, or a server error."""
        return self.status == 0 or self.status >= _SERVER


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFigures:
    requests: int
    failures: int
    p50_ms: float
    p99_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where the load redeems: the address, the API key, and cards that only this load uses."""

    address: str
    key: str
    currency: str
    cards: tuple[SoldCard, ...]


class HttpConnection:
    """One keep-alive HTTP/1.1 connection, opened on demand; answers need a Content-Length."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: object = None, key: str = ""
    ) -> tuple[int, Any]:
        """Return status and document; raises OSError or EOFError when the connection broke."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self._ask(method, path, body, key)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, method: str, path: str, body: object, key: str) -> tuple[int, Any]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server may close an idle connection; nothing was sent
        if self._streams is None:
            self._streams = await asyncio.open_connection(*http_probe.split_address(self._address))
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} /api/v1{path} HTTP/1.1", f"Host: {self._address}"]
        lines += [f"Authorization: Bearer {self._key}", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json"] if content else []
        lines += [f"Idempotency-Key: {key}"] if key else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
        }
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, json.loads(answer) if answer else None


async def sell_cards(address: str, key: str, program: str, *, cards: int) -> LoadTarget:
    """Sell new cards for the load to redeem."""
    connection = HttpConnection(address, key)
    sold: list[SoldCard] = []
    currency = ""
    for number in range(cards):
        body = {"program": program, "amount": FUNDS}
        unique = f"steady-{number}-{time.time_ns()}"
        status, card = await connection.ask("POST", "/cards", body, unique)
        if status >= _OK_BELOW:
            raise OSError(f"no card was sold: {status} {card}")
        sold.append(SoldCard(card["id"], card["code"]))
        currency = card["currency"]
    connection.close()
    return LoadTarget(address, key, currency, tuple(sold))


class ConstantRateLoad:
    """The load: `rate` requests per second over all connections together."""

    def __init__(self, target: LoadTarget, *, rate: float, connections: int, seed: int = 1) -> None:
        self.target = target
        self.log: list[LoggedRequest] = []
        self.spent = [0] * len(target.cards)  # acknowledged
        self.unknown = [0] * len(target.cards)  # of redemptions with unknown outcome
        self._random = random.Random(seed)
        self._pause_s = connections / rate
        self._connections = connections
        self._number = 0
        self._run = time.time_ns()
        self._ended = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["ConstantRateLoad"]:
        """Send requests while the body runs; wait for every answer before returning."""
        tasks = [
            asyncio.create_task(self._drive(index * self._pause_s / self._connections))
            for index in range(self._connections)
        ]
        try:
            yield self
        finally:
            self._ended = True
            await asyncio.gather(*tasks)

    def cut(self) -> list[LoggedRequest]:
        """Return the log since the last cut, and start a new one."""
        log, self.log = self.log, []
        return log

    async def _drive(self, delay_s: float) -> None:
        connection = HttpConnection(self.target.address, self.target.key)
        due = time.monotonic() + delay_s
        while not self._ended:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # A stalled connection does not catch up: the rate is an upper bound.
            due = max(due + self._pause_s, time.monotonic())
            await self._one(connection)
        connection.close()

    async def _one(self, connection: HttpConnection) -> None:
        self._number += 1
        index = self._random.randrange(len(self.target.cards))
        card, begun = self.target.cards[index], time.monotonic()
        kind: Kind = "lookup" if self._random.random() < _LOOKUPS else "redeem"
        amount = 0 if kind == "lookup" else self._random.randrange(1, 3)
        key, said, made = f"steady-{self._run}-{self._number}", "", ""
        try:
            if kind == "lookup":
                status, answer = await connection.ask("POST", "/cards/lookup", {"code": card.code})
            else:
                body = {"code": card.code, "amount": amount, "currency": self.target.currency}
                status, answer = await connection.ask("POST", "/redemptions", body, key)
                made = answer["id"] if status < _OK_BELOW else ""
            said = "" if status < _OK_BELOW else str(answer)[:300]
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            status, said = 0, f"{type(error).__name__}: {error}"
        request = LoggedRequest(
            at=begun,
            kind=kind,
            amount=amount,
            seconds=time.monotonic() - begun,
            status=status,
            answer=said,
            key=key,
            made=made,
        )
        if not request.failed:
            self.spent[index] += amount
        elif request.unknown:
            self.unknown[index] += amount
        self.log.append(request)


def latency_figures(log: Sequence[LoggedRequest]) -> LatencyFigures:
    times = sorted(request.seconds * 1000 for request in log) or [0.0]
    return LatencyFigures(
        requests=len(log),
        failures=sum(request.failed for request in log),
        p50_ms=times[len(times) // 2],
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)],
        most_ms=times[-1],
    )


async def ledger_differences(load: ConstantRateLoad) -> list[str]:
    """Compare every card's balance with the log, and check the proof. Empty when all agree.

    A redemption without an answer may have happened or not. An acknowledged one happened exactly
    once, a refused one not at all.
    """
    target, differences = load.target, list[str]()
    with contextlib.closing(HttpConnection(target.address, target.key)) as connection:
        for card, spent, unknown in zip(target.cards, load.spent, load.unknown, strict=True):
            most = FUNDS - spent
            status, document = await connection.ask("GET", f"/cards/{card.id}")
            balance = document.get("balance") if status < _OK_BELOW else None
            if balance is None or not most - unknown <= balance <= most:
                differences.append(f"{card.id}: {balance}, by the log {most - unknown} to {most}")
        status, document = await connection.ask("GET", "/ledger/proof")
        if status >= _OK_BELOW or document.get("balanced") is not True:
            differences.append(f"proof: {status} {document}")
    return differences
