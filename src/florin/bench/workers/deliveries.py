"""Deliveries: one worker sends e-mails to a mail server that takes them at once.

Measured from the commit that makes them due to the last outcome in the database: messages are
claimed, composed, sent and recorded. The mail server is one of the benchmark on the same machine.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from florin.bench.environment.dataset import Dataset, card_id, make_dataset
from florin.bench.environment.servers import BenchServers
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.measurement import cards_space_mb, measure_worker, run_rounds
from florin.bench.workers.result import Figures
from florin.deliveries.delivery import NewDelivery, enqueue_delivery
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.ops.postgres import server as postgres

_DATABASE = "florin_deliveries"
_LOOK_S = 0.05
_LEAST_RATE = 20  # e-mails/s; a slower run counts as hung
_SENT = "select count(*) = $1 from florin.delivery where state = 'sent'"
_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_END = b"\r\n.\r\n"
_ANSWERS = {b"EHLO": b"250 bench\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
_TAKEN = b"250 ok\r\n"


def space_mb(terms: WorkerBenchConfig) -> int:
    return cards_space_mb(terms.cards)


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    async def send() -> tuple[Figures, str | None]:
        dataset = await make_dataset(bench, cards=1, database=_DATABASE)
        figures, received = await _send(bench, dataset, terms.cards)
        twice = [count for count in received.values() if count != 1]
        if len(received) == terms.cards and not twice:
            return figures, None
        return figures, f"{len(received)} of {terms.cards} mails, {len(twice)} not once"

    rounds, wrong = await run_rounds(bench, terms, _DATABASE, send)
    return rounds, wrong, {}


async def _send(
    bench: BenchServers, dataset: Dataset, mails: int
) -> tuple[Figures, Counter[bytes]]:
    received: Counter[bytes] = Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _MailServer(received), "127.0.0.1", 0)
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(server.sockets[0].getsockname()[1]),
        "SMTP_TLS": "off",
        "SMTP_FROM": "cards@bench.example",
        "FLORIN_PUBLIC_URL": "http://127.0.0.1:1",
    }
    worker = await bench.start_worker("florin", "worker", database=_DATABASE, settings=settings)
    admin = await bench.admin(_DATABASE)
    opened = Database(f"{bench.url(postgres.APP, _DATABASE)}?connection_limit=2", name="bench")
    await opened.open()
    try:
        async with AsyncExitStack() as uncommitted:
            await _make(opened, uncommitted, bench, dataset, mails)

            async def begin() -> Callable[[], Awaitable[bool]]:
                await uncommitted.aclose()  # commits: all of them are due at once

                async def finished() -> bool:
                    return bool(await admin.fetchval(_SENT, mails))

                return finished

            figures = await measure_worker(
                bench,
                worker,
                mails,
                begin,
                look_s=_LOOK_S,
                otherwise="Mails are missing",
                least_rate=_LEAST_RATE,
            )
    finally:
        await opened.close()
        await admin.close()
        await worker.stop()
        server.close()
    return figures, received


async def _make(
    opened: Database, stack: AsyncExitStack, bench: BenchServers, dataset: Dataset, mails: int
) -> None:
    """Make the deliveries in a transaction that the stack ends."""
    sealer = Sealer(bench.secrets["FLORIN_SEAL_KEY"])
    tx = await stack.enter_async_context(opened.transaction())
    for number in range(mails):
        new = NewDelivery(
            merchant=dataset.merchant,
            cause=f"bench:{number}",
            kind="gift",
            channel="email",
            card=card_id(1),
            address=f"recipient.{number}@home.example",
            message="Enjoy",
            secret=f"{number:026d}",
        )
        await enqueue_delivery(tx, new, sealer)


class _MailServer(asyncio.Protocol):
    """Takes each message at once and counts it by its Message-ID (RFC 5321, without extensions)."""

    def __init__(self, received: Counter[bytes]) -> None:
        self._received = received
        self._buffer = b""
        self._in_data = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(b"220 bench\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = _END if self._in_data else b"\r\n"
            taken, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._in_data:
                named = _MESSAGE_ID.search(taken)
                self._received[b"" if named is None else named[1]] += 1
                self._in_data = False
                self._transport.write(_TAKEN)
            else:
                command = taken[:4].upper()
                self._in_data = command == b"DATA"
                self._transport.write(_ANSWERS.get(command, _TAKEN))
