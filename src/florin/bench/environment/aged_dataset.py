"""Aged dataset: a merchant with history: many cards, five entries each, with idempotency keys.

The rows are those that the ledger would have written. They are written in bulk, since issuing and
redeeming a million cards one by one would take an hour. The ledger is proved afterwards.
"""

from typing import Any
from uuid import UUID

from florin.bench.environment.dataset import FUNDS, Dataset, card_sql, make_dataset
from florin.bench.environment.servers import BenchServers
from florin.ops.system.console import timed

ENTRIES = 5  # a card: its issue and four redemptions
SPENT_MAX = 50_000  # cards whose codes the load knows, spread evenly over all cards
_KB_A_CARD = 6
_LOCATIONS = 32  # a power of two; one of them is no location

_ACCOUNTS = f"""
insert into florin.account (merchant, id, program, currency, state, partial, code_hash, face,
  balance, sequence, revision, issued_at, expires_at)
select $1, {card_sql("n")}, $2, 'EUR', 'active', true,
  coalesce(s.hash, sha256(convert_to('history ' || n, 'UTF8'))), {FUNDS}, {FUNDS - ENTRIES + 1},
  {ENTRIES}, {ENTRIES}, clock_timestamp() - interval '{ENTRIES} days',
  clock_timestamp() + interval '5 years'
from generate_series(1, $3::bigint) n left join spent s using (n)
"""  # noqa: S608 -- only numbers of this module
_CARDS = """
insert into florin.card (merchant, id, last4, issued_at)
select merchant, id, 'XXXX', issued_at from florin.account where merchant = $1
"""
# With what a search has to find among all of them.
_CARDS_OF_PEOPLE = """
insert into florin.card (merchant, id, last4, recipient_name, recipient_email, issued_at)
select merchant, id, upper(right(md5(id::text), 4)), 'Person ' || right(id::text, 12),
  right(id::text, 12) || '@people.example', issued_at
from florin.account where merchant = $1
"""

# The n-th entry of every card; all cards have their first before any has its second.
_NTH = f"""
create temporary table entry as
select {card_sql("n")} as card, uuidv7(make_interval(days => -:ago)) as id,
  clock_timestamp() - make_interval(days => :ago) as at
from generate_series(1, :cards::bigint) n
"""  # noqa: S608 -- only numbers of this module
_ISSUES = f"""
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, credit_card,
  credit_sequence, credit_balance, actor, created_at)
select $1, id, 'issue', 'EUR', {FUNDS}, 'merchant_clearing', 'card', card, $2, {FUNDS}, 'history',
  at from entry
"""  # noqa: S608 -- only numbers of this module
_REDEMPTIONS = f"""
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, debit_card,
  debit_sequence, debit_balance, actor, location, created_at)
select $1, id, 'redeem', 'EUR', 1, 'card', 'merchant_payable', card, $2::bigint,
  {FUNDS} + 1 - $2::bigint, 'history',
  nullif('Till ' || (hashtext(card::text) & $3::int), 'Till 0'), at from entry
"""  # noqa: S608 -- only numbers of this module
_EVENTS = """
insert into florin.event (merchant, id, type, card, resource_id, sequence, created_at)
select $1, uuidv7(at - clock_timestamp()), $2, card, id, $3, at from entry
"""
_KEYS = """
insert into florin.idempotency (merchant, key, operation, fingerprint, resource_id, created_at)
select $1, gen_random_uuid()::text, $2, sha256('history'), id, at from entry
"""


def aged_dataset_space_mb(cards: int) -> int:
    return 3_000 + cards * _KB_A_CARD // 1000


async def make_aged_dataset(
    bench: BenchServers,
    *,
    cards: int,
    database: str,
    owner: UUID | None = None,
    people: bool = False,
) -> Dataset:
    """Make a dataset of so many cards with history; `codes` holds the codes of some of them.
    `owner`: see make_dataset. `people`: each card has a recipient, and was used at some of 32
    locations.
    """
    spent = min(cards, SPENT_MAX)
    dataset = await make_dataset(bench, cards=spent, database=database, issue=False, owner=owner)
    admin = await bench.admin(database)
    try:
        with timed(f"Writing {cards:,} cards and {cards * ENTRIES:,} entries"):
            # Seeding runs as the superuser, without triggers and foreign key checks.
            await admin.execute("set session_replication_role = replica")
            await admin.execute("set synchronous_commit = off")
            await _write_cards(admin, dataset, cards, people=people)
            for nth in range(1, ENTRIES + 1):
                await _write_entries(admin, dataset, cards, nth, people=people)
    finally:
        await admin.close()
    return dataset


async def _write_cards(admin: Any, dataset: Dataset, cards: int, *, people: bool) -> None:
    step = cards // dataset.cards
    await admin.execute("create temporary table spent (n bigint primary key, hash bytea)")
    await admin.copy_records_to_table(
        "spent", records=[(1 + n * step, hashed) for n, hashed in enumerate(dataset.hashes)]
    )
    await admin.execute("analyze spent")
    await admin.execute(_ACCOUNTS, dataset.merchant, dataset.program, cards)
    await admin.execute(_CARDS_OF_PEOPLE if people else _CARDS, dataset.merchant)


async def _write_entries(
    admin: Any, dataset: Dataset, cards: int, nth: int, *, people: bool
) -> None:
    ago = str(ENTRIES + 1 - nth)
    await admin.execute(_NTH.replace(":ago", ago).replace(":cards", str(cards)))
    first = nth == 1
    if first:
        await admin.execute(_ISSUES, dataset.merchant, nth)
    else:
        last_location = _LOCATIONS - 1 if people else 0
        await admin.execute(_REDEMPTIONS, dataset.merchant, nth, last_location)
    happened = "card.issued" if first else "card.redeemed"
    await admin.execute(_EVENTS, dataset.merchant, happened, nth)
    await admin.execute(_KEYS, dataset.merchant, "issue" if first else "redeem")
    await admin.execute("drop table entry")
