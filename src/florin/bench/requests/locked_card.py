"""Locked card: a card that another transaction locks, and clients that wait for it."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from florin.bench.environment.dataset import Dataset, card_id
from florin.bench.environment.servers import BenchInstance, BenchServers
from florin.bench.load.python_client import RawHttpClient
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError

TILLS = 4
_MADE = 201
_WITHIN_S = 10
_WAITING = """
select exists (select from pg_stat_activity
  where wait_event_type = 'Lock' and application_name like 'florin api-%')
"""


@asynccontextmanager
async def lock_last_card(bench: BenchServers, dataset: Dataset) -> AsyncGenerator[None]:
    """Lock the last card of the dataset, as a slow transaction does."""
    holder = await bench.admin(dataset.database)
    try:
        async with holder.transaction():
            await holder.execute(
                "select from florin.account where merchant = $1 and id = $2 for update",
                dataset.merchant,
                card_id(dataset.cards),
            )
            yield
    finally:
        await holder.close()


async def wait_for_lock_waiter(bench: BenchServers, dataset: Dataset) -> None:
    """Return once an instance waits for the lock. Raises OperatorError if none does in time."""
    connection = await bench.admin(dataset.database)
    try:
        async with asyncio.timeout(_WITHIN_S):
            while not await connection.fetchval(_WAITING):  # noqa: ASYNC110 - no event announces it
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise OperatorError(
            "No instance waited for the lock of the held card; the run measured nothing."
        ) from None
    finally:
        await connection.close()


def require_waiting(waiters: Iterable["asyncio.Future[int]"]) -> None:
    if any(till.done() for till in waiters):
        raise OperatorError("The held card was not locked: a redemption of it was answered.")


async def redeem_locked_card(dataset: Dataset, instance: BenchInstance, *, key: str) -> int:
    """Redeem the held card; return 1 once it is answered. Raises OperatorError when refused."""
    client = RawHttpClient(*http_probe.split_address(instance.address))
    body = f'{{"amount":1,"currency":"EUR","code":"{dataset.codes[-1]}"}}'
    try:
        status, said = await client.send(
            (
                f"POST /api/v1/redemptions HTTP/1.1\r\nHost: florin\r\nIdempotency-Key: {key}\r\n"
                f"Authorization: Bearer {dataset.secret}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
    finally:
        client.close()
    if status != _MADE:
        raise OperatorError(f"A redemption of the held card was answered {status}: {said.decode()}")
    return 1
