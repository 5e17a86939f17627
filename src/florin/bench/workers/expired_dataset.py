"""Expired dataset: a merchant with very many cards past their expiry, as the ledger would have
written them.

The rows are written in bulk; the ledger is proved afterwards. The cards expired at the ends of the
last ten days, as if they had been sold day by day while no worker ran.
"""

from typing import Any
from uuid import UUID

from florin.bench.environment.dataset import card_sql, make_dataset
from florin.bench.environment.servers import BenchServers
from florin.ops.system.console import timed

BALANCE = 2_500
_DAYS = 10

_ACCOUNTS = f"""
insert into florin.account (merchant, id, program, currency, state, partial, code_hash, face,
  balance, sequence, revision, expires_at, issued_at)
select $1, {card_sql("n")}, $2, 'EUR', 'active', true, sha256(convert_to('due ' || n, 'UTF8')),
  {BALANCE}, {BALANCE}, 1, 1, d.day, d.day - interval '1 year'
from generate_series(1, $3::bigint) n,
  lateral (select date_trunc('day', now()) - make_interval(days => ({_DAYS} - 1 - n * {_DAYS} / ($3::bigint + 1))::integer)
    as day) d
"""  # noqa: S608, E501 -- only numbers of this module
_CARDS = f"""
insert into florin.card (merchant, id, last4, issued_at)
select $1, {card_sql("n")}, 'XXXX', now() - interval '1 year' from generate_series(1, $2::bigint) n
"""  # noqa: S608 -- only numbers of this module
_TRANSFERS = f"""
insert into florin.transfer (merchant, id, kind, currency, amount, debit, credit, credit_card,
  credit_sequence, credit_balance, actor, created_at)
select $1, uuidv7(interval '-1 year'), 'issue', 'EUR', {BALANCE}, 'merchant_clearing', 'card',
  {card_sql("n")}, 1, {BALANCE}, 'due', now() - interval '1 year'
from generate_series(1, $2::bigint) n
"""  # noqa: S608 -- only numbers of this module
_EVENTS = f"""
insert into florin.event (merchant, id, type, card, resource_id, sequence, created_at)
select $1, uuidv7(interval '-1 year'), 'card.issued', {card_sql("n")}, {card_sql("n")}, 1,
  now() - interval '1 year'
from generate_series(1, $2::bigint) n
"""  # noqa: S608 -- only numbers of this module


async def make_expired_dataset(bench: BenchServers, *, cards: int, database: str) -> UUID:
    """Make the dataset; return its merchant."""
    dataset = await make_dataset(bench, cards=1, database=database, issue=False)
    admin = await bench.admin(database)
    try:
        with timed(f"Writing {cards:,} cards that are due"):
            # Seeding runs as the superuser, without triggers and foreign key checks.
            await admin.execute("set session_replication_role = replica")
            await admin.execute("set synchronous_commit = off")
            await admin.execute(_ACCOUNTS, dataset.merchant, dataset.program, cards)
            for sql in (_CARDS, _TRANSFERS, _EVENTS):
                await admin.execute(sql, dataset.merchant, cards)
            await admin.execute("vacuum (analyze)")
    finally:
        await admin.close()
    return dataset.merchant


async def copy_database(admin: Any, *, of: str, name: str) -> None:
    """Make a copy of a database, file by file."""
    await admin.execute(f"drop database if exists {name}")
    await admin.execute(f"create database {name} template {of} strategy file_copy")
    await admin.execute("checkpoint")
