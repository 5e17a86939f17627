"""Lane: delivers to a share of the endpoints, all at the same time.

A lane is one job of the queue, so one worker owns its endpoints; outcomes are written in
transactions that check the job's lease. Endpoints that did not succeed yet have connections of
their own number: those that hang cannot use up what the others need.
"""

import asyncio
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import msgspec

from florin.events.event import find_events
from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.observability import logging
from florin.kit.observability.error_reports import report_error
from florin.kit.postgres.database import Database, Row
from florin.kit.queue.job import Continue, QueuedJob
from florin.webhooks.addresses import AddressRules
from florin.webhooks.channel import IDLE_S, SUSPECT, WINDOW_MAX, Channel, Item, idle_channels
from florin.webhooks.endpoint import secret_binding
from florin.webhooks.http_client import (
    Attempt,
    EndpointClient,
    GuardedNetwork,
    make_tls_context,
)
from florin.webhooks.outcome_writer import OutcomeWriter
from florin.webhooks.outcomes import Outcome
from florin.webhooks.signing import signature_headers

# Then the job continues, on any worker. At its end a run waits for attempts that hang and begins no
# others: rarely, so that this delays no one.
SLICE_S = 600.0
LINGER_S = 1.0  # a lane without work waits so long for more
_LOOK_S = 0.1
_FOR_ENDPOINT, _IN_ALL = 400, 4000  # deliveries read at once
_PROVEN_MAX, _UNPROVEN_MAX = 256, 512  # attempts at the same time, with enough files

_HEADERS = [
    (b"content-type", b"application/json"),
    (b"user-agent", b"Florin-Webhooks/1"),
    (b"accept-encoding", b"identity"),
]
_log = logging.get_logger()


class WebhookSender:
    """What lanes share in a process: networks, certificates, limits."""

    def __init__(self, database: Database, sealer: Sealer, rules: AddressRules) -> None:
        self.database = database
        self.sealer = sealer
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = max(16, min(_PROVEN_MAX + _UNPROVEN_MAX, files // 2))
        self.proven = asyncio.Semaphore(room // 3)
        self.unproven = asyncio.Semaphore(room - room // 3)
        # A name server that does not answer blocks the look-ups of unproven endpoints only.
        self.networks = {
            proven: GuardedNetwork(rules, ThreadPoolExecutor(4, thread_name_prefix="resolve"))
            for proven in (True, False)
        }
        self._context = None

    def client(self, url: str, *, proven: bool) -> EndpointClient:
        if self._context is None:
            self._context = make_tls_context()
        return EndpointClient(self.networks[proven], self._context, url, WINDOW_MAX)


async def deliver_lane(job: QueuedJob, sender: WebhookSender) -> Continue | None:
    """Deliver what is due for the endpoints of a lane."""
    return await Lane(job, sender, int(job.payload["lane"])).run()


class Lane:
    """One run of a lane."""

    def __init__(self, job: QueuedJob, sender: WebhookSender, number: int) -> None:
        self._job = job
        self._sender = sender
        self._number = number
        self._channels: dict[UUID, Channel] = {}
        self._outcomes = OutcomeWriter(job, self._count_written)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Continue | None:
        writing = asyncio.ensure_future(self._outcomes.write_until_ended())
        until = time.monotonic() + SLICE_S
        worked_at = time.monotonic()
        try:
            while time.monotonic() < until and not self._job.stopping and not writing.done():
                if await self._load() or self._tasks:
                    worked_at = time.monotonic()
                elif time.monotonic() - worked_at > LINGER_S:
                    break
                await self._close_idle()
                await asyncio.sleep(_LOOK_S)
            for channel in self._channels.values():
                channel.queue.clear()
            if self._tasks:
                await asyncio.wait(self._tasks)
            is_idle = time.monotonic() - worked_at > LINGER_S
        finally:
            await self._end(writing)
        return None if is_idle else Continue()

    async def _end(self, writing: "asyncio.Future[None]") -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._outcomes.end()
        ended += await asyncio.gather(writing, return_exceptions=True)
        for channel in self._channels.values():
            await channel.client.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    # -- read --------------------------------------------------------------------------------

    async def _load(self) -> bool:
        """Read due deliveries of endpoints that are not busy, and begin to send them."""
        busy = [each.endpoint for each in self._channels.values() if each.is_busy]
        rows = await self._sender.database.all(
            "select * from webhook_due($1, $2, $3, $4, $5)",
            self._number, busy, _FOR_ENDPOINT, _IN_ALL, SUSPECT,
        )  # fmt: skip
        by_merchant: dict[UUID, list[Row]] = {}
        for row in rows:
            by_merchant.setdefault(row["merchant"], []).append(row)
        for merchant, due in by_merchant.items():
            await self._queue(merchant, due)
        return bool(rows)

    async def _queue(self, merchant: UUID, due: Sequence[Row]) -> None:
        wanted = list({row["event"] for row in due})
        events = await find_events(self._sender.database, merchant, wanted)
        bodies = {ids.parse_id("evt", each.id): msgspec.json.encode(each) for each in events}
        for row in due:
            channel = await self._channel(row)
            if channel is None:
                continue
            item = Item(row["id"], row["event"], row["card"], row["attempts"])
            item.body = bodies[row["event"]]
            channel.queue.append(item)
        for endpoint in {row["endpoint"] for row in due} & self._channels.keys():
            self._send_next(self._channels[endpoint])

    async def _channel(self, row: Row) -> Channel | None:
        """The channel of an endpoint, with its present URL and secrets."""
        merchant, endpoint = row["merchant"], row["endpoint"]
        binding = secret_binding(merchant, endpoint)
        sealed = [each for each in (row["secret_sealed"], row["previous_sealed"]) if each]
        try:
            secrets = tuple(self._sender.sealer.unseal(each, bound_to=binding) for each in sealed)
        except UnsealFailed:
            _log.error("a webhook secret cannot be opened", endpoint=ids.show_id("whe", endpoint))
            return None
        channel = self._channels.get(endpoint)
        proven = row["failures"] == 0 and channel is not None and channel.proven
        if channel is None or channel.url != row["url"]:
            if channel is not None:
                await channel.client.close()
            client = self._sender.client(row["url"], proven=proven)
            channel = Channel(merchant, endpoint, row["url"], client, secrets, row["failures"])
            self._channels[endpoint] = channel
        channel.secrets = secrets
        return channel

    async def _close_idle(self) -> None:
        past = time.monotonic() - IDLE_S
        for channel in idle_channels(self._channels, lambda at: at < past):
            await channel.client.close()

    # -- send --------------------------------------------------------------------------------

    def _send_next(self, channel: Channel) -> None:
        while (item := channel.next_item()) is not None:
            task = asyncio.ensure_future(self._send(channel, item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, channel: Channel, item: Item) -> None:
        room = self._sender.proven if channel.proven else self._sender.unproven
        async with room:
            attempt = await self._attempt(channel, item)
        channel.end_attempt(item, attempt)
        self._outcomes.add(
            Outcome(channel.merchant, channel.endpoint, item.id, item.attempts, attempt)
        )
        self._send_next(channel)

    async def _attempt(self, channel: Channel, item: Item) -> Attempt:
        at = int(time.time())
        signed = signature_headers(ids.show_id("evt", item.event), at, item.body, channel.secrets)
        try:
            return await channel.client.post([*_HEADERS, *signed], item.body)
        except Exception as error:  # noqa: BLE001 -- one endpoint never ends the lane of others
            _log.error("a webhook failed", error=repr(error))
            report_error(error, {"event": "a webhook failed"})
            return Attempt(at=at, error="an internal error of Florin; its operator was informed")

    def _count_written(self, outcome: Outcome) -> None:
        channel = self._channels.get(outcome.endpoint)
        if channel is not None:
            channel.unwritten -= 1
