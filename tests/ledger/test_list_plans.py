"""Every list, however it is narrowed, reads about as much as it shows: counted by the server."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from florin.cards import listing
from florin.cards.listing import CardFilter
from florin.cards.transactions import history
from florin.cards.transactions import holds as hold_lists
from florin.cards.transactions.history import TransactionFilter
from florin.cards.transactions.holds import HoldFilter
from florin.events import event
from florin.events.event import EventFilter
from florin.kit import ids
from florin.kit.postgres.database import Database, open_connection
from florin.merchants import programs
from tests.conftest import Urls
from tests.ledger import calls
from tests.ledger.test_query_plans import nodes

CARDS = 12_000
PAGE = 20
READ_MAX = 1_500  # rows of all nodes of a plan together; a page is read through up to six of them
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

# A card a minute: every hundredth blocked, every thousandth with a mark; five movements and events
# each; a hold on every second. One card is hot: two thousand movements.
_HISTORY = """
insert into florin.account (merchant, id, program, currency, state, partial, code_hash, face,
    balance, sequence, revision, issued_at, expires_at)
  select $1, i, $2, 'EUR',
    case when n % 100 = 0 then 'blocked' else 'active' end::florin.card_state,
    true, sha256(uuid_send(i)), 1000, 1000, 5, 5, $4::timestamptz + n * interval '1 minute',
    case when n % 200 = 1 then '2026-02-01'::timestamptz else '2099-01-01' end
  from unnest($3::uuid[]) with ordinality as u (i, n);
insert into florin.card (merchant, id, last4, issued_at, recipient_email, recipient_name, metadata)
  select $1, i, 'T' || n % 900, $4::timestamptz + n * interval '1 minute',
    'Someone' || n || '@x.org', 'Some One ' || n,
    case when n % 1000 = 0 then '{"mark": "rare", "all": "1"}'
      else '{"all": "1"}' end::jsonb
  from unnest($3::uuid[]) with ordinality as u (i, n) where $2 is not null;
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
    debit_sequence, debit_balance, actor, created_at, reference, location)
  select $1, gen_random_uuid(), 'redeem', 'EUR', 1, 'card', 'merchant_payable', i, s, 1, 'x',
    $4::timestamptz + n * interval '1 minute' + s * interval '1 second',
    'order ' || n, 'till ' || n % 20
  from unnest($3::uuid[]) with ordinality as u (i, n), generate_series(2, 5) s where $2 is not null;
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, credit_card,
    credit_sequence, credit_balance, actor, created_at)
  select $1, gen_random_uuid(), case when n % 500 = 0 then 'load' else 'issue'
    end::florin.transfer_kind, 'EUR', 200, 'merchant_clearing', 'card', i, 1, 200, 'x',
    $4::timestamptz + n * interval '1 minute'
  from unnest($3::uuid[]) with ordinality as u (i, n) where $2 is not null;
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
    debit_sequence, debit_balance, actor, created_at)
  select $1, gen_random_uuid(), 'redeem', 'EUR', 1, 'card', 'merchant_payable', ($3::uuid[])[1], s,
    1, 'x', $4::timestamptz + s * interval '5 minutes'
  from generate_series(6, 2005) s where $2 is not null;
insert into florin.hold (merchant, id, card, currency, amount, state, actor, created_at, expires_at,
    resolved_at, reference, location)
  select $1, gen_random_uuid(), i, 'EUR', 1, case when n % 100 = 0 then 'open' else 'voided'
    end::florin.hold_state, 'x', $4::timestamptz + n * interval '1 minute', '2099-01-01',
    case when n % 100 <> 0 then $4::timestamptz end, 'order ' || n, 'till ' || n % 20
  from unnest($3::uuid[]) with ordinality as u (i, n) where n % 2 = 0 and $2 is not null;
insert into florin.event (merchant, id, type, card, resource_id, sequence, created_at)
  select $1, gen_random_uuid(),
    case when s > 1 then 'card.seen' when n % 500 = 0 then 'card.blocked'
      else 'card.issued' end, i, i, s, $4::timestamptz + n * interval '1 minute'
  from unnest($3::uuid[]) with ordinality as u (i, n), generate_series(1, 5) s where $2 is not null
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A merchant with a history; another merchant is as large."""

    merchant: UUID
    program: UUID
    cards: list[UUID]


@pytest.fixture(scope="module")
async def loaded(urls: Urls) -> AsyncGenerator[Loaded]:
    connection = await open_connection(urls.owner, name="tests")
    shops: list[Loaded] = []
    for _ in range(2):
        merchant = await calls.make_merchant(connection)
        program = await calls.make_program(connection, merchant)
        cards = [ids.new_id() for _ in range(CARDS)]
        for statement in _HISTORY.split(";\n"):
            # Every statement gets the same arguments; PostgreSQL requires that each is used.
            used = f"with _ as (select $1::uuid, $2::uuid, $3::uuid[], $4::timestamptz) {statement}"
            await connection.execute(used, merchant, program, cards, BEGAN)
        shops.append(Loaded(merchant, program, cards))
    await connection.execute("analyze")
    yield shops[0]
    await connection.close()


class Counting(Database):
    """Counts the rows that each statement reads."""

    def __init__(self, connection: Any) -> None:  # not a pool: nothing is opened
        self.connection_ = connection
        self.worst: tuple[int, str] = (0, "")

    async def all(self, sql: str, *args: object) -> Any:
        # A prepared statement: EXPLAIN of the statement itself is always planned for its arguments.
        described = await self.connection_.prepare(sql)
        types = [_type_name(each) for each in described.get_parameters()]
        await self.connection_.execute(f"prepare counted ({', '.join(types)}) as {sql}")
        values = ", ".join(_literal(each) for each in args)
        explained = await self.connection_.fetchval(
            f"explain (analyze, timing off, format json) execute counted ({values})"
        )
        await self.connection_.execute("deallocate counted")
        plan = json.loads(explained)[0]["Plan"]
        read = sum(
            each["Actual Loops"]
            * (each["Actual Rows"] + each.get("Rows Removed by Filter", 0)
               + each.get("Rows Removed by Index Recheck", 0)
               + each.get("Rows Removed by Join Filter", 0))
            for each in nodes(plan)
        )  # fmt: skip
        self.worst = max(self.worst, (int(read), json.dumps(plan, indent=1)))
        return await self.connection_.fetch(sql, *args)


def _type_name(parameter: Any) -> str:
    inner = parameter.name.removesuffix("[]")
    return f'{parameter.schema}."{inner}"{parameter.name.removeprefix(inner)}'


def _literal(value: object) -> str:
    """An argument of EXECUTE, which takes no parameters when it is explained."""
    if isinstance(value, list):
        value = "{" + ",".join(f'"{each}"' for each in cast("list[object]", value)) + "}"
    return "null" if value is None else "'{}'".format(str(value).replace("'", "''"))


MIDDLE = BEGAN + timedelta(minutes=CARDS // 2)
TIMES: dict[str, Any] = {
    "any time": (),
    "before": (("<", MIDDLE),),
    "after": ((">=", MIDDLE),),
    "within": ((">", MIDDLE), ("<=", MIDDLE + timedelta(minutes=30))),
    "never": ((">", BEGAN + timedelta(days=4000)),),
}
CARD_FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "active": {"state": "active"},
    "blocked": {"state": "blocked"},
    "expired": {"state": "expired"},
    "closed": {"state": "closed"},
    "last4": {"last4": "T7"},
    "e-mail": {"recipient": "SOMEONE77@x.org"},
    "name": {"recipient": "some one 77"},
    "absent": {"recipient": "absent"},
    "common pair": {"metadata": {"all": "1"}},
    "rare pair": {"metadata": {"mark": "rare"}},
    "two pairs": {"metadata": {"mark": "rare", "all": "1"}},
    "no pair": {"metadata": {"mark": "none"}},
}
MOVE_FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "reference": {"reference": "order 77"},
    "location": {"location": "till 7"},
    "nowhere": {"location": "nowhere"},
}

List = Callable[[Counting, Loaded], Awaitable[object]]


def every_list() -> dict[str, List]:
    """Each list with each of its filters, at each time."""
    found: dict[str, List] = {}
    for when, created in TIMES.items():
        for name, only in CARD_FILTERS.items():
            wanted = CardFilter(created=created, **only)
            found[f"cards, {name}, {when}"] = lambda db, at, only=wanted: listing.list_cards(
                db, at.merchant, limit=PAGE, after=None, only=only
            )
        found[f"cards, program, {when}"] = lambda db, at, created=created: listing.list_cards(
            db, at.merchant, limit=PAGE, after=None,
            only=CardFilter(created=created, program=at.program),
        )  # fmt: skip
        for name, only in MOVE_FILTERS.items():
            moves, holds = (
                TransactionFilter(created=created, **only),
                HoldFilter(created=created, **only),
            )
            for kind in ("redeem", "load", "transfer"):
                found[f"{kind}, {name}, {when}"] = lambda db, at, only=moves, kind=kind: (
                    history.list_transactions(
                        db, at.merchant, kind, limit=PAGE, after=None, only=only
                    )
                )
            found[f"entries, {name}, {when}"] = lambda db, at, only=moves: history.list_entries(
                db, at.merchant, limit=PAGE, after=None, only=only
            )
            found[f"holds, {name}, {when}"] = lambda db, at, only=holds: hold_lists.list_holds(
                db, at.merchant, limit=PAGE, after=None, only=only
            )
        for state in ("open", "voided", "expired", "captured"):
            wanted_hold = HoldFilter(created=created, state=state)
            found[f"holds, {state}, {when}"] = lambda db, at, only=wanted_hold: (
                hold_lists.list_holds(db, at.merchant, limit=PAGE, after=None, only=only)
            )
        for kind in (None, "card.seen", "card.blocked", "card.closed"):
            wanted_event = EventFilter(created=created, kind=kind)
            found[f"events, {kind}, {when}"] = lambda db, at, only=wanted_event: event.list_events(
                db, at.merchant, limit=PAGE, after=None, only=only
            )
        found[f"entries, load, {when}"] = lambda db, at, created=created: history.list_entries(
            db,
            at.merchant,
            limit=PAGE,
            after=None,
            only=TransactionFilter(created=created),
            kind="load",
        )
        found[f"programs, {when}"] = lambda db, at, created=created: programs.list_programs(
            db, at.merchant, limit=PAGE, after=None, created=created
        )
    # For one card: the one with many transactions, whose entries are read.
    hot: dict[str, List] = {
        "redeem": lambda db, at: history.list_transactions(
            db,
            at.merchant,
            "redeem",
            limit=PAGE,
            after=None,
            only=TransactionFilter(card=at.cards[0]),
        ),
        "transfer": lambda db, at: history.list_transactions(
            db,
            at.merchant,
            "load",
            limit=PAGE,
            after=None,
            only=TransactionFilter(card=at.cards[0]),
        ),
        "statement": lambda db, at: history.list_card_entries(
            db, at.merchant, limit=PAGE, before=900, only=TransactionFilter(card=at.cards[0])
        ),
        "holds": lambda db, at: hold_lists.list_holds(
            db, at.merchant, limit=PAGE, after=None, only=HoldFilter(card=at.cards[1])
        ),
        "events": lambda db, at: event.list_events(
            db, at.merchant, limit=PAGE, after=None, only=EventFilter(card=at.cards[1])
        ),
    }
    return found | {f"by card, {name}": one for name, one in hot.items()}


LISTS = every_list()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_list_reads_about_what_it_shows(app: Any, loaded: Loaded, mode: str) -> None:
    await app.execute(f"set plan_cache_mode = {mode}; set jit = off")
    wasteful: dict[str, tuple[int, str]] = {}
    for name, listed in LISTS.items():
        counting = Counting(app)
        await listed(counting, loaded)
        if counting.worst[0] > READ_MAX:
            wasteful[name] = counting.worst
    first = next(iter(wasteful.values()), (0, ""))
    assert not wasteful, f"{ {name: read for name, (read, _) in wasteful.items()} }\n{first[1]}"


@pytest.mark.usefixtures("loaded")
async def test_the_measure_sees_a_scan(app: Any) -> None:
    counting = Counting(app)
    await counting.all("select * from florin.transfer where amount = $1 limit 1", 77_777)
    assert counting.worst[0] > READ_MAX
