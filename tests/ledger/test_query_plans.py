"""Every hot query probes an index, at a size at which it matters."""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from uuid import UUID

import pytest

from florin.cards import lookup
from florin.cards.transactions import queries
from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database, open_connection
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.model import Op

CARDS = 20_000
TABLES = ("account", "card", "transfer", "hold", "idempotency", "event", "program", "api_key")

_HISTORY = """
insert into florin.account (merchant, id, program, currency, state, partial, code_hash, face,
    balance, sequence, revision)
  select $1, i, $2, 'EUR', 'active', true, sha256(uuid_send(i)), 1000, 1000, 5, 5
  from unnest($3::uuid[]) i;
insert into florin.card (merchant, id, last4, issued_at)
  select $1, i, 'TEST', now() from unnest($3::uuid[]) i;
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, credit_card,
    credit_sequence, credit_balance, actor, created_at)
  select $1, gen_random_uuid(), 'load', 'EUR', 200, 'merchant_clearing', 'card', i, n, 200 * n, 'x',
    now() from unnest($3::uuid[]) i, generate_series(1, 5) n;
insert into florin.idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
  select $1, 'k' || i, 'load', '', i, now() from unnest($3::uuid[]) i;
insert into florin.event (merchant, id, type, card, resource_id, sequence, created_at)
  select $1, gen_random_uuid(), 'card.issued', i, i, n, now()
  from unnest($3::uuid[]) i, generate_series(1, 5) n;
"""


@pytest.fixture(scope="module")
async def shop(urls: Urls) -> AsyncGenerator[tuple[UUID, UUID, list[UUID]]]:
    """A merchant with a history, and statistics of it."""
    connection = await open_connection(urls.owner, name="tests")
    merchant = await calls.make_merchant(connection)
    program = await calls.make_program(connection, merchant)
    cards = [ids.new_id() for _ in range(CARDS)]
    for statement in _HISTORY.split(";\n"):
        if statement.strip():
            arguments = [merchant, program, cards]
            # Every statement gets the same arguments; PostgreSQL requires that each is used.
            used = f"with _ as (select $1::uuid, $2::uuid, $3::uuid[]) {statement}"
            await connection.execute(used, *arguments)
    await connection.execute("analyze")
    yield merchant, program, cards
    await connection.close()


class Spy(Database):
    """Explains what it is asked, with the plan a prepared statement ends up with."""

    def __init__(self, connection: Any) -> None:  # not a pool: nothing is opened
        self.connection_ = connection
        self.plans: list[Any] = []

    async def all(self, sql: str, *args: object) -> Any:
        explained = await self.connection_.fetchval(f"explain (format json) {sql}", *args)
        self.plans.append(json.loads(explained)[0]["Plan"])
        return await self.connection_.fetch(sql, *args)

    async def one(self, sql: str, *args: object) -> Any:
        rows = await self.all(sql, *args)
        return rows[0] if rows else None


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_frequent_queries_use_an_index(
    app: Any, shop: tuple[UUID, UUID, list[UUID]], mode: str
) -> None:
    merchant, _, cards = shop
    await app.execute(f"set plan_cache_mode = {mode}; set jit = off")
    spy = Spy(app)
    card = cards[0]
    await spy.all(lookup.SQL, [merchant], [calls.code_hash(card)])
    await spy.all(lookup.SQL, [merchant] * 50, [calls.code_hash(each) for each in cards[:50]])
    for find, name in (
        (queries.find_entry(spy, merchant, f"ent_{card.hex}_d"), "an entry"),
        (queries.find_transaction(spy, merchant, "redeem", f"red_{card.hex}"), "a redemption"),
        (queries.find_hold(spy, merchant, f"hld_{card.hex}"), "a hold"),
    ):
        with pytest.raises(NotFound):  # the query is explained anyway
            assert await find is None, name
    for plan in spy.plans:
        for node in nodes(plan):
            small = node.get("Relation Name") in {"merchant", "program", "hold", None}
            assert node["Node Type"] != "Seq Scan" or small, json.dumps(plan, indent=1)


async def test_the_ledger_scans_no_table(
    owner: Any, app: Any, shop: tuple[UUID, UUID, list[UUID]]
) -> None:
    """Counted by the server itself, over every operation."""
    merchant, program, cards = shop

    async def scans() -> dict[str, int]:
        await owner.execute("select pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        rows = await owner.fetch(
            "select relname, seq_scan from pg_stat_user_tables where schemaname = 'florin'"
        )
        return {row["relname"]: row["seq_scan"] for row in rows}

    redeem, hold, other = (ids.new_id() for _ in range(3))
    first: list[dict[str, Any]] = [
        {"kind": "redeem", "id": redeem, "amount": 10, "currency": "EUR"},
        {"kind": "hold", "id": hold, "amount": 10, "currency": "EUR", "expires_in": 600},
        {"kind": "load", "amount": 10},
        {"kind": "adjust", "amount": -1},
        {"kind": "transfer", "amount": 5, "other": cards[1]},
        {"kind": "block"}, {"kind": "unblock"}, {"kind": "activate"}, {"kind": "expire"},
        {"kind": "reinstate"}, {"kind": "close"},
    ]  # fmt: skip
    second: list[dict[str, Any]] = [
        {"kind": "refund", "card": None, "other": redeem, "amount": 3},
        {"kind": "capture", "card": None, "other": hold, "amount": 3},
        {"kind": "void", "card": None, "other": hold},
    ]
    before = await scans()
    for some in (first, second):
        named: list[dict[str, Any]] = [
            {"merchant": "m", "card": cards[0], "id": ids.new_id(), "key": str(ids.new_id())} | each
            for each in some
        ]
        ops = [Op(**each) for each in named]
        rows = await calls.post(app, {"m": merchant}, ops)
        assert "card_not_found" not in {row["outcome"] for row in rows}
        assert rows[0]["outcome"] == "ok"
    made = await calls.issue(app, merchant, program, [other], [5], activate=[True], keys=["new"])
    assert made[0]["outcome"] == "ok"
    await app.execute("select pg_stat_force_next_flush()")
    after = await scans()
    assert {table: after[table] - before[table] for table in TABLES} == dict.fromkeys(TABLES, 0)
    # A sequential scan does change this count.
    await app.execute("select count(metadata) from florin.card")
    await app.execute("select pg_stat_force_next_flush()")
    assert (await scans())["card"] == after["card"] + 1
