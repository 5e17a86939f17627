"""Webhooks: one worker delivers the events of a merchant to a receiver that answers at once.

Measured from the events, which are there, to the last outcome in the database: deliveries are made,
read, signed, sent and recorded. The receiver is a server of the benchmark on the same machine.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httptools

from florin.bench.environment.dataset import Dataset, make_dataset
from florin.bench.environment.servers import BenchServers
from florin.bench.workers.catalog import WorkerBenchConfig
from florin.bench.workers.measurement import cards_space_mb, measure_worker, run_rounds
from florin.bench.workers.result import Figures
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.webhooks.endpoint import LANES, secret_binding
from florin.webhooks.signing import make_webhook_secret

ENDPOINTS = 10
ALLOW = {"FLORIN_WEBHOOK_ALLOW": "127.0.0.0/8"}
_DATABASE = "florin_webhooks"
_LOOK_S = 0.05
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_INSERT = """
insert into florin.webhook_endpoint
  (merchant, id, url, events, secret_sealed, lane, cursor_at, cursor_event, made_by)
values ($1, $2, $3, '{*}', $4, $5, '-infinity', $2, 'bench')
"""
_PUT = """
insert into florin.outbox (queue, kind, payload, version, priority, dedupe)
values ('webhook-delivery', 'follow', '{}', 1, 10, 'follow')
"""
_DELIVERED = "select count(*) = $1 from florin.webhook_delivery where state = 'delivered'"


def space_mb(terms: WorkerBenchConfig) -> int:
    return cards_space_mb(terms.cards)


async def contest(
    bench: BenchServers, terms: WorkerBenchConfig
) -> tuple[Sequence[Figures], Sequence[str], Mapping[str, str]]:
    events = max(1, terms.cards // ENDPOINTS)

    async def deliver() -> tuple[Figures, str | None]:
        dataset = await make_dataset(bench, cards=events, database=_DATABASE)
        figures, received = await _deliver(bench, dataset, events * ENDPOINTS)
        lost = [count for count in received.values() if count != ENDPOINTS]
        if len(received) == events and not lost:
            return figures, None
        return figures, f"{len(received)} of {events} events, {len(lost)} not once each"

    rounds, wrong = await run_rounds(bench, terms, _DATABASE, deliver)
    return rounds, wrong, {}


async def _deliver(
    bench: BenchServers, dataset: Dataset, messages: int
) -> tuple[Figures, Counter[str]]:
    received: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Receiver(received), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    worker = await bench.start_worker("florin", "worker", database=_DATABASE, settings=ALLOW)
    admin = await bench.admin(_DATABASE)
    sealer = Sealer(bench.secrets["FLORIN_SEAL_KEY"])
    try:

        async def begin() -> Callable[[], Awaitable[bool]]:
            for number in range(ENDPOINTS):
                endpoint = ids.new_id()
                binding = secret_binding(dataset.merchant, endpoint)
                sealed = sealer.seal(make_webhook_secret(), bound_to=binding)
                url = f"http://127.0.0.1:{port}/{number}"
                lane = number % LANES
                await admin.execute(_INSERT, dataset.merchant, endpoint, url, sealed, lane)
            await admin.execute(_PUT)

            async def finished() -> bool:
                return bool(await admin.fetchval(_DELIVERED, messages))

            return finished

        figures = await measure_worker(
            bench, worker, messages, begin, look_s=_LOOK_S, otherwise="Messages are missing"
        )
    finally:
        await admin.close()
        await worker.stop()
        server.close()
    return figures, received


class _Receiver(asyncio.Protocol):
    """Answers each message at once and counts it by its id."""

    def __init__(self, received: Counter[str]) -> None:
        self._received = received
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"webhook-id":
            self._received[value.decode()] += 1

    def on_message_complete(self) -> None:
        self._transport.write(_OK)
