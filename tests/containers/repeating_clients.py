"""Repeating clients: they issue and redeem through a balancer, and repeat what was not answered.

A request without an answer, or with one that leaves its outcome open (5xx), is sent again under its
key, as the documentation asks for. At the end each card must have exactly what its client knows.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from florin.gate.merchant import CheckMerchant

_CARD, _SPENT = 20_000, 7  # cents
_PAUSE_S = 0.1  # between the requests of one client, and before a repetition
_TIMEOUT_S = 15.0
_CREATED, _ERROR = 201, 500


@dataclass(slots=True)
class RequestLog:
    """What all clients saw. `failed` counts tries without a final answer, `longest_s` is the
    longest that one request waited for it, with its repetitions.
    """

    answered: int = 0
    failed: int = 0
    longest_s: float = 0.0
    balances: dict[str, int] = field(default_factory=dict[str, int])
    failures: list[str] = field(default_factory=list[str])

    async def more(self, count: int, within_s: float = 120) -> None:
        """Wait for further answers."""
        until = self.answered + count
        async with asyncio.timeout(within_s):
            while self.answered < until:  # noqa: ASYNC110 -- the clients only count
                await asyncio.sleep(0.05)

    def __str__(self) -> str:
        return (
            f"{self.answered} requests answered, {self.failed} tries failed, the longest wait"
            f" {self.longest_s:.1f} s"
        )


async def _ask(http: httpx.AsyncClient, log: RequestLog, path: str, body: Any) -> Any:
    began, key = time.monotonic(), uuid.uuid4().hex
    while True:
        try:
            answer = await http.post(path, json=body, headers={"idempotency-key": key})
        except httpx.TransportError as error:
            why = repr(error)
        else:
            if answer.status_code == _CREATED:
                break
            why = f"{answer.status_code} {answer.text[:200]}"
            assert answer.status_code >= _ERROR, why
        log.failed += 1
        log.failures.append(why)
        await asyncio.sleep(_PAUSE_S)
    log.answered += 1
    log.longest_s = max(log.longest_s, time.monotonic() - began)
    return answer.json()


async def _work(
    http: httpx.AsyncClient, program: str, log: RequestLog, stop: asyncio.Event
) -> None:
    card = await _ask(http, log, "/cards", {"program": program, "amount": _CARD})
    log.balances[card["id"]] = _CARD
    while not stop.is_set():
        body = {"code": card["code"], "amount": _SPENT, "currency": "EUR"}
        await _ask(http, log, "/redemptions", body)
        log.balances[card["id"]] -= _SPENT
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def repeating_clients(
    addresses: list[str], merchant: CheckMerchant, *, count: int = 8
) -> AsyncGenerator[RequestLog]:
    """Let clients work during the block; then compare the ledger with what they were answered."""
    log, stop = RequestLog(), asyncio.Event()
    headers = {"authorization": f"Bearer {merchant.api_key}"}
    https = [
        httpx.AsyncClient(
            base_url=f"http://{each}/api/v1", headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
        for each in addresses
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(_work(https[number % len(https)], merchant.program, log, stop))
            try:
                yield log
            finally:
                stop.set()
        print(log, *log.failures[:5], sep="\n")
        for card, balance in log.balances.items():
            assert (await https[0].get(f"/cards/{card}")).json()["balance"] == balance, card
        proof = (await https[0].get("/ledger/proof")).json()
        assert proof["balanced"] is True, proof
    finally:
        for each in https:
            await each.aclose()
