"""Merchant: the test merchant that deployments are checked with, its program and an API key."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from florin.identity import api_keys
from florin.identity.api_keys import KeyRequest
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.function_sets import use_installed_functions
from florin.kit.settings import Settings
from florin.merchants.program import ProgramRequest
from florin.merchants.programs import create_program

NAME = "Florin deployment check"
CURRENCY = "EUR"
CARD_MIN, CARD_MAX = 100, 1_000_000  # minor units
_LEFT = timedelta(days=1)  # keys of checks that were killed are revoked after this time


@dataclass(frozen=True, slots=True)
class CheckMerchant:
    """The API key, and the ids of the merchant and its program, as in the API."""

    merchant: str
    program: str
    api_key: str


@asynccontextmanager
async def open_check_merchant(settings: Settings) -> AsyncGenerator[CheckMerchant]:
    """Find or create the test merchant; give it a key that is revoked at the end."""
    database = Database(
        settings.primary_url, name="florin gate", on_connect=use_installed_functions
    )
    await database.open()
    try:
        async with database.transaction() as tx:
            merchant, program = await _find(tx) or await _create(tx)
            await tx.run(
                "update florin.api_key set revoked_at = clock_timestamp()"
                " where merchant = $1 and revoked_at is null"
                " and created_at < clock_timestamp() - $2::interval",
                merchant,
                _LEFT,
            )
        pepper = settings.key_pepper.get_secret_value().encode()
        made = await api_keys.create_key(
            database,
            merchant=merchant,
            request=KeyRequest(name="deployment check", scopes=sorted(SCOPES)),
            allowed=SCOPES,
            pepper_hash=partial(api_keys.key_hash, pepper),
        )
        assert isinstance(made.secret, str)
        try:
            yield CheckMerchant(
                ids.show_id("mer", merchant), ids.show_id("prg", program), made.secret
            )
        finally:
            async with database.transaction() as tx:
                await tx.run(
                    "update florin.api_key set revoked_at = clock_timestamp()"
                    " where merchant = $1 and id = $2",
                    merchant,
                    ids.parse_id("key", made.id),
                )
    finally:
        await database.close()


async def _find(tx: Tx) -> tuple[UUID, UUID] | None:
    row = await tx.one(
        "select m.id merchant, p.id program from florin.merchant m"
        " join florin.program p on p.merchant = m.id"
        " where m.name = $1 and m.test order by m.created_at, m.id, p.id limit 1",
        NAME,
    )
    return None if row is None else (row["merchant"], row["program"])


async def _create(tx: Tx) -> tuple[UUID, UUID]:
    merchant, program = ids.new_id(), ids.new_id()
    await tx.run(
        "insert into florin.merchant (id, name, country, currency, timezone, test)"
        " values ($1, $2, 'NL', $3, 'UTC', true)",
        merchant,
        NAME,
        CURRENCY,
    )
    request = ProgramRequest(
        name="Check card", currency=CURRENCY, min_amount=CARD_MIN, max_amount=CARD_MAX
    )
    await create_program(tx, merchant, request, program=program)
    return merchant, program
