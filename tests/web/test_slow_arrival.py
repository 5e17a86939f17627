"""Slow arrival: a page that comes in many pieces is painted once, so that nothing in it moves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import APIRequestContext

from tests.support.browser import needs_chromium
from tests.support.instance import Instance
from tests.support.page_browser import chromium, person
from tests.support.stream_server import stop_listening
from tests.web.test_journeys import SHIFT_MAX, Measured, register

pytestmark = needs_chromium

PIECES = 60
PIECE_EVERY_S = 0.02
PAGES = ("/till/shift", "/console/orders", "/console/reports")


@asynccontextmanager
async def slow_origin(origin: str, http: APIRequestContext) -> AsyncGenerator[str]:
    """The address of a server that passes on the pages of `origin` in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).decode().split()[1]
        while (await reader.readline()).strip():
            pass
        answer = await http.get(f"{origin}{path}")
        body, kind = await answer.body(), answer.headers.get("content-type", "")
        head = f"HTTP/1.1 {answer.status} -\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        step = -(-len(body) // PIECES) if kind.startswith("text/html") else len(body)
        for begin in range(0, len(body), step):
            writer.write(body[begin : begin + step])
            await writer.drain()
            await asyncio.sleep(PIECE_EVERY_S if step < len(body) else 0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await stop_listening(server)


@pytest.mark.slow
async def test_nothing_moves_while_a_page_arrives_in_pieces(api: Instance) -> None:
    async with (
        chromium() as browser,
        person(browser, api.base, width=390, script=True) as (_, page, _found),
    ):
        await register(page, "Harbour & Rye")
        async with slow_origin(api.base, page.request) as base:
            seen = Measured(page, "slow", script=True)
            for path in PAGES:
                await page.goto(f"{base}{path}")
                _, shift = await seen.loaded()
                assert shift <= SHIFT_MAX, f"{path} shifts by {shift}"
