"""Unknown outcome: after 503 `overloaded` a request has had no effect."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from florin.kit.postgres.database import Database
from tests.conftest import Urls
from tests.support.api_calls import issue, key, post, problem
from tests.support.instance import Instance, Shop, instance

ASKED = 10


async def test_overloaded_leaves_its_key_unused(urls: Urls, shop: Shop, owner: Any) -> None:
    """One connection, held by slow writes: it is missing before the commit, and again after it."""
    outcomes: dict[str, str] = {}
    turn = 0

    def both() -> bool:
        counted = Counter((under.split()[0], code) for under, code in outcomes.items())
        return min(counted["load", "outcome_unknown"], counted["load", "overloaded"]) > 0

    with instance(f"{urls.app}?connection_limit=1&pool_timeout=0.05") as narrow:
        async with _client(narrow.base, shop) as http:
            card = await _patiently(http, "/cards", {"program": shop.program, "amount": 1})

            async def ask_often(path: str, body: Any, name: str) -> None:
                for n in range(ASKED):
                    under = f"{name} {turn} {n}"
                    answer = await post(http, path, body, under=under)
                    outcomes[under] = answer.json().get("code") if answer.is_error else "done"

            await owner.execute(
                "create function slow() returns trigger language plpgsql as"
                " $$ begin perform pg_sleep(0.1); return new; end $$;"
                " create trigger slow before insert on florin.program"
                " for each row execute function slow()"
            )
            program = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5}
            load = {"card": card["id"], "amount": 1}
            while not both() and turn < 20:
                turn += 1
                await asyncio.gather(
                    *(ask_often("/programs", program, f"program {n}") for n in range(3)),
                    *(ask_often("/loads", load, f"load {n}") for n in range(6)),
                    ask_often(f"/cards/{card['id']}/activate", None, "activate"),
                    ask_often(f"/cards/{card['id']}/rotate-code", None, "rotate"),
                )
            await owner.execute("drop function slow cascade")
    rows = await owner.fetch(
        "select key from florin.idempotency where merchant = $1", shop.merchant
    )
    used = {row["key"] for row in rows}
    assert not {under for under, code in outcomes.items() if code == "overloaded"} & used
    unknown = {under for under, code in outcomes.items() if code == "outcome_unknown"}
    assert unknown <= used
    assert both(), Counter(outcomes.values())


@pytest.mark.slow
async def test_a_lookup_without_a_database_is_overloaded(
    urls: Urls, shop: Shop, database: Database
) -> None:
    """The route only reads although it is a POST: the caller may repeat it."""
    del database
    async with _line_to(urls.app) as (url, cut):
        loop = asyncio.get_running_loop()
        context = instance(f"{url}?connection_limit=2&pool_timeout=2")
        running: Instance = await loop.run_in_executor(None, context.__enter__)
        try:
            async with _client(running.base, shop) as http:
                card = await issue(http, shop)
                wanted = {"code": card["code"]}
                assert (await post(http, "/cards/lookup", wanted)).status_code == 200
                cut()
                # The hot route and its twin; together, since each is repeated for a while.
                paths = ("/cards/lookup", "/cards/lookup/")
                for answer in await asyncio.gather(*(post(http, each, wanted) for each in paths)):
                    problem(answer, 503, "overloaded")
                    assert answer.headers["retry-after"]
        finally:
            await loop.run_in_executor(None, context.__exit__, None, None, None)


async def test_a_full_disk_is_no_bug(http: httpx.AsyncClient, shop: Shop, owner: Any) -> None:
    """The server says it as it says it then; what it could not write has not happened."""
    card = await issue(http, shop)
    load = {"card": card["id"], "amount": 1}
    program = {"name": "P", "currency": "EUR", "min_amount": 1, "max_amount": 5}
    asked = (("/loads", load), ("/programs", program))
    await owner.execute(
        "create function full_disk() returns trigger language plpgsql as"
        " $$ begin raise exception using errcode = 'disk_full'; end $$"
    )
    for table in ("transfer", "program"):
        await owner.execute(
            f"create trigger a_full_disk before insert on florin.{table}"
            " for each row execute function full_disk()"
        )
    try:
        for path, body in asked:
            problem(await post(http, path, body, under=f"full {path}"), 503, "overloaded")
    finally:
        await owner.execute("drop function full_disk cascade")
    for path, body in asked:
        answer = await post(http, path, body, under=f"full {path}")
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "path", ["activate", "block", "unblock", "rotate-code", "reset-pin", "close"]
)
async def test_what_takes_no_body_refuses_fields(
    http: httpx.AsyncClient, shop: Shop, path: str
) -> None:
    card = await issue(http, shop, 100)
    route = f"/cards/{card['id']}/{path}"
    refused = problem(
        await post(http, route, {"amount": 5}), 422, "invalid_request", param="amount"
    )
    assert refused["detail"]
    for wrong in (b"{", b"[1]", b"\xff"):
        problem(await http.post(route, content=wrong, headers=key()), 422, "invalid_request")
    for fine in (b"", b"{}", b" \n"):
        answer = await http.post(route, content=fine, headers=key())
        assert answer.json().get("code", "") != "invalid_request", answer.text


async def _patiently(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    """Repeat a request with its key until it gets a response."""
    under = "patiently"
    answer = await post(http, path, body, under=under)
    for _ in range(100):
        if answer.status_code != 503:
            break
        answer = await post(http, path, body, under=under)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _client(base: str, shop: Shop) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=300)
    return httpx.AsyncClient(
        base_url=f"{base}/api/v1", headers=shop.headers, limits=limits, timeout=60
    )


@asynccontextmanager
async def _line_to(url: str) -> AsyncGenerator[tuple[str, Any]]:
    """A line to a server, as a URL, and what cuts it."""
    parts = urlsplit(url)
    ends: set[asyncio.StreamWriter] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.add(writer)
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(carry(reader, back), carry(there, writer))

    line = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = line.sockets[0].getsockname()[1]

    def cut() -> None:
        line.close()
        for end in ends:
            end.transport.abort()

    try:
        yield parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl(), cut
    finally:
        cut()
