"""A full disk: refused requests have no effect, nothing is lost, work resumes with free space."""

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from florin.kit.postgres.database import open_connection
from tests.journeys.faults import accounts, disks
from tests.journeys.faults.clients import opened
from tests.journeys.faults.shop import Fleet, running
from tests.journeys.faults.tills import Call, Log, working_tills
from tests.support import postgres_server

_TILLS = 6
_REFUSED = 12
_WITHIN_S = 60


@dataclass(slots=True)
class Shop:
    """A fleet with its data and its WAL on one small disk each."""

    fleet: Fleet
    data: disks.Small
    log: disks.Small


@pytest.fixture(scope="module")
async def shop() -> AsyncGenerator[Shop]:
    with ExitStack() as stack:
        data, log = (stack.enter_context(disks.small(mb)) for mb in (256, 192))
        server = stack.enter_context(
            postgres_server.server(
                postgres_server.program(),
                durable=True,
                disk=data.path,
                log=log.path / "wal",
                more=("max_wal_size=64MB", "min_wal_size=32MB", "shared_buffers=32MB"),
            )
        )
        async with running(server, postgres_server.program()) as fleet:
            yield Shop(fleet, data, log)


@asynccontextmanager
async def tills(https: list[httpx.AsyncClient], program: str) -> AsyncGenerator[Log]:
    """Run tills, and finally compare the ledger with the responses they received."""
    seed = secrets.randbelow(10**6)
    async with working_tills(https, program, count=_TILLS, seed=seed) as log:
        yield log
    print(log.summary())
    await accounts.compare(https[0], log)


async def sell(http: httpx.AsyncClient, program: str, log: Log) -> str:
    """A card that the tills do not empty."""
    call = Call("/cards", {"program": program, "amount": 10**9}, uuid.uuid4().hex)
    said = await ask(http, call, log)
    log.cards[said.json()["id"]] = said.json()
    return said.json()["id"]


def spending(card: str) -> Call:
    return Call("/redemptions", {"card": card, "amount": 1, "currency": "EUR"}, uuid.uuid4().hex)


async def ask(http: httpx.AsyncClient, call: Call, log: Log) -> httpx.Response:
    """Send one request and record its result in the log."""
    said = await http.post(call.path, json=call.body, headers={"Idempotency-Key": call.key})
    if said.status_code == 201:
        call.status, call.answer = said.status_code, said.json()
        log.calls.append(call)
    return said


async def refusals(http: httpx.AsyncClient, card: str, log: Log) -> list[tuple[Call, str]]:
    """Spend until enough requests are refused; return them with the codes of their refusals."""
    refused: list[tuple[Call, str]] = []
    async with asyncio.timeout(_WITHIN_S):
        while len(refused) < _REFUSED:
            call = spending(card)
            said = await ask(http, call, log)
            if said.status_code != 201:
                assert said.status_code == 503, said.text
                assert "retry-after" in said.headers
                refused.append((call, said.json()["code"]))
    return refused


async def test_nothing_has_happened_of_what_is_refused_while_the_disk_is_full(shop: Shop) -> None:
    async with opened(shop.fleet) as (https, program), tills(https, program) as log:
        card = await sell(https[0], program, log)
        shop.data.fill()
        try:
            refused = await refusals(https[0], card, log)
        finally:
            shop.data.empty()
        assert {code for _, code in refused} == {"overloaded"}
        for call, _ in refused:
            said = await ask(https[1], call, log)
            assert said.status_code == 201, said.text
            assert "idempotency-replayed" not in said.headers


async def test_a_server_that_cannot_write_its_log_loses_nothing(shop: Shop) -> None:
    """The server stops; restarted with free space it has every acknowledged commit."""
    fleet = shop.fleet
    async with opened(fleet) as (https, program), tills(https, program) as log:
        card = await sell(https[0], program, log)
        shop.log.fill()
        try:
            writing = asyncio.ensure_future(until_it_ends(https[0], card, log, fleet))
            using = asyncio.ensure_future(use_up(fleet))
            await asyncio.to_thread(fleet.process.wait, _WITHIN_S)
            await using
        finally:
            shop.log.empty()
        await asyncio.to_thread(fleet.start_database)
        for call in await writing:
            assert (await ask(https[1], call, log)).status_code == 201


async def use_up(fleet: Fleet) -> None:
    """Use up the preallocated WAL segments, so that the server needs new ones."""
    connection = await open_connection(fleet.url("postgres"), name="tests")
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        while fleet.process.poll() is None:
            await connection.execute("select pg_switch_wal()")
            await asyncio.sleep(0.02)  # what is written meanwhile goes to the next one
    connection.terminate()


async def until_it_ends(http: httpx.AsyncClient, card: str, log: Log, fleet: Fleet) -> list[Call]:
    """Spend as long as the server runs; return the calls with an unknown outcome."""
    unknown: list[Call] = []
    process = fleet.process  # another one takes its place
    while process.poll() is None:
        call = spending(card)
        if (await ask(http, call, log)).status_code != 201:
            unknown.append(call)
    return unknown
