"""Dataset: the merchant, key and cards that a benchmark spends from."""

import asyncio
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from florin.bench.environment.servers import BenchServers
from florin.cards import codes
from florin.identity import api_keys
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.ledger.issue import Issuance, IssuingLedger
from florin.merchants import programs
from florin.merchants.program import ProgramRequest
from florin.ops.postgres import server as postgres
from florin.ops.system.console import voice

FUNDS = 10**10  # minor units on a card; more than a benchmark spends
# The n-th card's id is a function of n, so that pgbench can compute the id of a random card.
_CARD_ID = 0x0192F0C0_0000_7000_8000_000000000000
_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A merchant with an API key. `codes` are those of the cards that the load redeems."""

    database: str
    merchant: UUID
    program: UUID
    secret: str
    cards: int
    codes: tuple[str, ...]
    hashes: tuple[bytes, ...]


def card_id(n: int) -> UUID:
    return UUID(int=_CARD_ID | n)


def card_sql(n: str) -> str:
    """Return card_id as SQL, for an SQL expression of n."""
    prefix = str(card_id(0))[:24]
    return f"('{prefix}' || lpad(to_hex(({n})::bigint), 12, '0'))::uuid"


async def make_dataset(
    bench: BenchServers,
    *,
    cards: int,
    database: str = postgres.DATABASE,
    issue: bool = True,
    owner: UUID | None = None,
) -> Dataset:
    """Make a merchant and issue its cards through the ledger, numbered from 1.

    Without `issue` only the codes are made; aged_dataset.py makes their cards. `owner`: a merchant
    that exists already and gets the cards.
    """
    opened = Database(f"{bench.url(postgres.APP, database)}?connection_limit=4", name="bench")
    await opened.open()
    try:
        merchant, program_id = owner or ids.new_id(), ids.new_id()
        secret = await _merchant(bench, opened, merchant, program_id, new=owner is None)
        made = tuple(codes.make_code() for _ in range(cards))
        pepper = bench.secrets["FLORIN_CODE_PEPPER"].encode()
        dataset = Dataset(
            database=database,
            merchant=merchant,
            program=program_id,
            secret=secret,
            cards=cards,
            codes=made,
            hashes=tuple(codes.code_hash(pepper, merchant, code) for code in made),
        )
        if issue:
            await _issue(bench, opened, dataset)
    finally:
        await opened.close()
    return dataset


async def _merchant(
    bench: BenchServers, opened: Database, merchant: UUID, program_id: UUID, *, new: bool
) -> str:
    async with opened.transaction() as tx:
        if new:
            await tx.run(
                "insert into florin.merchant (id, name, country, currency, timezone)"
                " values ($1, 'Bench', 'NL', 'EUR', 'UTC')",
                merchant,
            )
        request = ProgramRequest(
            name="Bench", currency="EUR", min_amount=1, max_amount=10**12, expires_after_months=60
        )
        await programs.create_program(tx, merchant, request, program=program_id)
    return await _key(bench, opened, merchant)


async def make_keys(bench: BenchServers, dataset: Dataset, count: int) -> list[str]:
    """Make further API keys of the merchant, one per independent caller."""
    opened = Database(
        f"{bench.url(postgres.APP, dataset.database)}?connection_limit=4", name="bench"
    )
    await opened.open()
    try:
        return [await _key(bench, opened, dataset.merchant) for _ in range(count)]
    finally:
        await opened.close()


async def _key(bench: BenchServers, opened: Database, merchant: UUID) -> str:
    made = await api_keys.create_key(
        opened,
        merchant=merchant,
        request=api_keys.KeyRequest(name="bench", scopes=sorted(SCOPES)),
        allowed=SCOPES,
        pepper_hash=partial(api_keys.key_hash, bench.secrets["FLORIN_KEY_PEPPER"].encode()),
    )
    assert isinstance(made.secret, str)
    return made.secret


async def _issue(bench: BenchServers, opened: Database, dataset: Dataset) -> None:
    sealer = Sealer(bench.secrets["FLORIN_SEAL_KEY"])
    issuer = IssuingLedger(opened)
    for start in range(0, dataset.cards, _AT_ONCE):
        voice.status(f"Issuing cards … {start}")
        await asyncio.gather(
            *(
                issuer.issue(_issuance(dataset, sealer, n))
                for n in range(start, min(start + _AT_ONCE, dataset.cards))
            )
        )
    await issuer.settle()


def _issuance(dataset: Dataset, sealer: Sealer, n: int) -> Issuance:
    card, code = card_id(n + 1), dataset.codes[n]
    return Issuance(
        merchant=dataset.merchant,
        program=dataset.program,
        amount=FUNDS,
        code=dataset.hashes[n],
        last4=code[-4:],
        sealed=sealer.seal(code, bound_to=dataset.merchant.bytes + card.bytes),
        actor="bench",
        id=card,
    )
