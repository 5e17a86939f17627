"""Event reader: follow the event stream of a merchant, and list its events for comparison."""

import asyncio
import contextlib

import httpx

from tests.support.api_calls import read


async def follow(http: httpx.AsyncClient, seen: list[str]) -> None:
    """Read the stream; reconnect with the last event id after an interruption."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            async with http.stream(
                "GET", "/events/stream", headers={"last-event-id": seen[-1]}
            ) as answer:
                async for line in answer.aiter_lines():
                    seen.extend([line.removeprefix("id: ")] if line.startswith("id: ") else [])
        await asyncio.sleep(0.05)


async def since(http: httpx.AsyncClient, first: str) -> list[str]:
    """The ids of all events after `first`, from the list, earliest first."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        answer = await read(http, "/events", limit=100, **after)
        for each in answer["data"]:
            if each["id"] == first:
                return found[::-1]
            found.append(each["id"])
        assert answer["has_more"]
        after = {"starting_after": found[-1]}
