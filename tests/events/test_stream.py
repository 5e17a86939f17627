"""The stream of events: each event once and in order, despite failures and concurrent requests."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from florin.kit import ids
from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.calls import Op
from tests.support import valkey_topologies
from tests.support.api_calls import Json, issue, made, post, problem, read, redeem, spend, together
from tests.support.event_reader import since
from tests.support.instance import NO_TLS, Instance, Shop, instance, make_shop

WITHIN_S = 60
QUIET_S = 1.5  # longer than a stream sleeps: it has read by then


class Lines:
    """The lines of a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self._coming: asyncio.Future[Json | None] | None = None

    async def event(self, within_s: float = WITHIN_S) -> Json | None:
        """The next event; None at the end. After a TimeoutError it can be called again."""
        self._coming = self._coming or asyncio.ensure_future(self._next())
        async with asyncio.timeout(within_s):
            found = await asyncio.shield(self._coming)
        self._coming = None
        return found

    async def _next(self) -> Json | None:
        last = None
        async for line in self._lines:
            if line.startswith("id: "):
                last = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found: Json = json.loads(line.removeprefix("data: "))
                assert found["id"] == last
                return found
        return None

    async def many(self, number: int) -> list[Json]:
        found = [await self.event() for _ in range(number)]
        return [each for each in found if each is not None]


@asynccontextmanager
async def stream(http: httpx.AsyncClient, *, after: str | None = None) -> AsyncGenerator[Lines]:
    headers = {"last-event-id": after} if after is not None else {}
    async with http.stream("GET", "/events/stream", headers=headers, timeout=WITHIN_S) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Lines(answer)


async def test_each_event_comes_once_and_in_order_from_every_instance(
    urls: Urls, shop: Shop, database: Database, owner: Any
) -> None:
    other = await make_shop(owner, database)
    url = f"{urls.app}?connection_limit=10&pool_timeout=20"
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(valkey_topologies.single())
        one = stack.enter_context(instance(url, REDIS_URL=valkey.url))
        two = stack.enter_context(instance(url, REDIS_URL=valkey.url))
        here = await stack.enter_async_context(client(one, shop))
        there = await stack.enter_async_context(client(two, shop))
        strangers = await stack.enter_async_context(client(two, other))
        cards = [await issue(here, shop, 1000) for _ in range(5)]
        theirs = await issue(strangers, other, 1000)
        first = await newest(here)
        lines = await stack.enter_async_context(stream(here))
        for _ in range(4):
            await together(
                post(http, "/redemptions", spend(card, 1))
                for http in (here, there)
                for card in cards
            )
            await redeem(strangers, theirs, 1)
        await made(there, f"/cards/{cards[0]['id']}/block", status=200)
        got = await lines.many(41)
        assert [each["id"] for each in got] == await since(here, first)
        assert got[-1]["type"] == "card.blocked"
        (node,) = valkey.nodes
        node.kill()
        redemption = await redeem(there, cards[1], 7)
        (late,) = await lines.many(1)
        assert late["data"]["object"]["id"] == redemption["id"]


async def test_events_of_a_long_transaction_are_not_skipped(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    slow, quick = await issue(http, shop, 1000), await issue(http, shop, 1000)
    first = await newest(http)
    async with stream(http) as lines:
        running = owner.transaction()
        await running.start()
        op = Op(
            kind="redeem", merchant="m", id=ids.new_id(), card=bare(slow["id"]), amount=1, key="s"
        )
        (row,) = await calls.post(owner, {"m": shop.merchant}, [op])
        assert row["outcome"] == "ok"
        await redeem(http, quick, 1)
        with pytest.raises(TimeoutError):  # an event that may not be the next is not sent
            await lines.event(QUIET_S)
        await running.commit()
        got = await lines.many(2)
        assert [each["id"] for each in got] == await since(http, first)
        assert got[0]["data"]["object"]["card"] == slow["id"]


async def test_a_client_reconnects_and_misses_no_event(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any, api: Instance
) -> None:
    card = await issue(http, shop, 1000)
    async with stream(http) as lines:
        await redeem(http, card, 1)
        (seen,) = await lines.many(1)
    await made_many(http, card, 250)  # more than a page
    async with stream(http, after=seen["id"]) as lines:
        got = await lines.many(250)
        assert [each["id"] for each in got] == await since(http, seen["id"])
    for unknown in ("evt_0", "nonsense", f"evt_{ids.new_id().hex}"):
        answer = await http.get("/events/stream", headers={"last-event-id": unknown})
        assert problem(answer, 422, "invalid_request")["param"] == "Last-Event-ID"
    other = await make_shop(owner, database)
    async with client(api, other) as strangers:
        answer = await strangers.get("/events/stream", headers={"last-event-id": seen["id"]})
        problem(answer, 422, "invalid_request")
    assert (await http.head("/events/stream")).status_code == 200
    await until_no_stream_is_open(http, api)


async def test_a_revoked_key_ends_its_stream(http: httpx.AsyncClient, api: Instance) -> None:
    key = await made(http, "/api-keys", {"name": "screen", "scopes": ["events:read"]})
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(
        base_url=f"{api.base}/api/v1", headers=headers, verify=NO_TLS
    ) as reader:
        async with stream(reader) as lines:
            assert (await http.delete(f"/api-keys/{key['id']}")).status_code < 300
            assert await lines.event() is None
        problem(await reader.get("/events/stream"), 401, "unauthenticated")


async def test_one_merchant_does_not_take_all_streams(
    http: httpx.AsyncClient, shop: Shop, database: Database, owner: Any, api: Instance
) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(stream(http)) for _ in range(20)]
        async with http.stream("GET", "/events/stream") as refused:
            await refused.aread()
            refusal = problem(refused, 429, "quota_exceeded")
            assert (refusal["quota"], refusal["limit"]) == ("event_streams", 20)
        async with client(api, await make_shop(owner, database)) as other, stream(other):
            pass
        card = await issue(http, shop, 10)
        got = {(await lines.many(1))[0]["data"]["object"]["id"] for lines in opened}
        assert got == {card["id"]}


async def test_the_limit_of_streams_holds_for_concurrent_requests(
    http: httpx.AsyncClient, api: Instance
) -> None:
    async def knock() -> int:
        async with http.stream("GET", "/events/stream") as answer:
            there.append(answer.status_code)
            async with asyncio.timeout(WITHIN_S):
                await all_there.wait()
            return answer.status_code

    there: list[int] = []
    all_there = asyncio.Event()
    knocking = [asyncio.ensure_future(knock()) for _ in range(40)]
    async with asyncio.timeout(WITHIN_S):
        while len(there) < len(knocking):  # noqa: ASYNC110 -- they count for themselves
            await asyncio.sleep(0.01)
    all_there.set()
    assert sorted(await asyncio.gather(*knocking)) == [200] * 20 + [429] * 20
    await until_no_stream_is_open(http, api)


async def test_a_client_that_disconnects_at_any_moment_frees_its_stream(
    http: httpx.AsyncClient, api: Instance, shop: Shop
) -> None:
    asked = (
        f"GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {shop.secret}\r\n\r\n"
    )
    for after_ms in (0, 2, 4, 6, 8, 12, 20, 40):
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", api.port)
            linger = struct.pack("ii", 1, 0)  # a reset instead of a close
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.write(asked.encode())
            await asyncio.sleep(after_ms / 1000)
            writer.transport.abort()
    await until_no_stream_is_open(http, api)


async def test_the_events_of_a_card_are_streamed_in_sequence(
    http: httpx.AsyncClient, shop: Shop, owner: Any
) -> None:
    card = await issue(http, shop, 1000)
    async with stream(http) as lines:
        held = await made(http, "/holds", {**spend(card, 1), "expires_in": 1})
        while (await read(http, f"/holds/{held['id']}"))["state"] == "open":  # noqa: ASYNC110 -- time
            await asyncio.sleep(0.05)
        await redeem(http, card, 1)  # also expires the hold, in the same call
        # Some wait separately for a locked card, and continue together with later requests.
        async with owner.transaction():
            await owner.execute(
                "select from florin.account where id = $1 for no key update", bare(card["id"])
            )
            waiting = [
                asyncio.ensure_future(post(http, "/redemptions", spend(card, 1))) for _ in range(20)
            ]
            for _ in range(10):
                await asyncio.sleep(0.02)
                waiting.append(asyncio.ensure_future(post(http, "/redemptions", spend(card, 1))))
        assert {each.status_code for each in await asyncio.gather(*waiting)} == {201}
        got = await lines.many(33)
    assert [each["type"] for each in got[:3]] == ["hold.created", "hold.expired", "card.redeemed"]
    numbers = [each["sequence"] for each in got]
    assert numbers == sorted(numbers)


async def test_an_instance_that_stops_ends_its_streams(urls: Urls, shop: Shop) -> None:
    url = f"{urls.app}?connection_limit=5&pool_timeout=20"
    with instance(url) as leaving:
        async with client(leaving, shop) as http, stream(http) as lines:
            stopping = asyncio.ensure_future(asyncio.to_thread(leaving.stop))
            assert await lines.event() is None
            assert await stopping == 0


async def until_no_stream_is_open(http: httpx.AsyncClient, api: Instance) -> None:
    """Wait until the instance has noticed that all clients have disconnected."""
    for _ in range(20 * WITHIN_S):
        if "florin_event_streams 0.0" in (await http.get(f"{api.operations}/metrics")).text:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a stream without a reader stays open")


async def newest(http: httpx.AsyncClient) -> str:
    found: str = (await read(http, "/events", limit=1))["data"][0]["id"]
    return found


async def made_many(http: httpx.AsyncClient, card: Json, number: int) -> None:
    lines = [{"idempotency_key": ids.new_id().hex, **spend(card, 1)} for _ in range(number)]
    answer = await http.post("/redemptions/batch", json={"redemptions": lines})
    assert {each["status"] for each in answer.json()["data"]} == {201}


def bare(text: str) -> Any:
    return ids.parse_id("crd", text)


@asynccontextmanager
async def client(of: Instance, shop: Shop) -> AsyncGenerator[httpx.AsyncClient]:
    base = f"{of.base}/api/v1"
    async with httpx.AsyncClient(
        base_url=base, headers=shop.headers, timeout=WITHIN_S, verify=NO_TLS
    ) as made:
        yield made
