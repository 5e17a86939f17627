"""Merchant: the demo merchant of `florin up`, with a program and an API key."""

import asyncio
import json
import os
import secrets
import sys
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg

from florin.identity import api_keys, members
from florin.identity.api_keys import KeyRequest
from florin.identity.credentials import passwords
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.function_sets import use_installed_functions
from florin.kit.settings import Settings
from florin.kit.settings.startup import settings_of_process
from florin.merchants.branding import SlugTaken, require_free_slug
from florin.merchants.program import ProgramRequest
from florin.merchants.programs import create_program

_NAME, _SLUG = "Demo Roasters", "demo-roasters"
_COLORS = ("#3B2418", "#E9BE6B")
_OPEN_JOBS = 1000


async def ensure(settings: Settings, kept: dict[str, str]) -> dict[str, str]:
    """Return merchant, program and API key: the stored ones if they still work, else new ones."""
    database = Database(
        settings.primary_url, name="florin demo-merchant", on_connect=use_installed_functions
    )
    await database.open()
    pepper = settings.key_pepper.get_secret_value().encode()
    try:
        if "api_key" in kept:
            row = await database.one(
                "select 1 from florin.api_key where hash = $1 and revoked_at is null",
                api_keys.key_hash(pepper, kept["api_key"]),
            )
            if row is not None and "password" in kept:
                return kept
            if row is not None:  # a home of before the pages: its owner gets a sign-in
                known = ids.require_id("mer", kept["merchant"])
                return kept | await _owner(database, known)
        merchant, program = ids.new_id(), ids.new_id()
        async with database.transaction() as tx:
            await tx.run(
                "insert into florin.merchant (id, name, country, currency, timezone)"
                " values ($1, $2, 'NL', 'EUR', 'Europe/Amsterdam')",
                merchant,
                _NAME,
            )
            await create_program(tx, merchant, _program(), program=program)
            slug = await _open_shop(tx, merchant)
            # `florin demo --load` requests a hundred jobs at a time.
            await tx.run(
                "insert into florin.quota (merchant, name, most) values ($1, 'open_jobs', $2)",
                merchant,
                _OPEN_JOBS,
            )
        made = await _key(database, merchant, pepper)
        return {
            "merchant": ids.show_id("mer", merchant),
            "program": ids.show_id("prg", program),
            "api_key": made,
            "slug": slug,
            **await _owner(database, merchant),
        }
    finally:
        await database.close()


async def _open_shop(tx: Tx, merchant: UUID) -> str:
    """Open the storefront of a demo merchant; return its slug. Other demos may have the first."""
    slug = _SLUG
    try:
        await require_free_slug(tx, merchant, slug)
    except SlugTaken:
        slug = f"{_SLUG}-{merchant.hex[-8:]}"
    await tx.run(
        "insert into florin.branding (merchant, slug, card_color, line_color)"
        " values ($1, $2, $3, $4)",
        merchant,
        slug,
        *_COLORS,
    )
    return slug


async def _owner(database: Database, merchant: UUID) -> dict[str, str]:
    """Add an owner who can sign in; return the address and the password."""
    member = ids.new_id()
    email = f"owner@{merchant.hex[-8:]}.demo.example"
    password = f"demo-{secrets.token_urlsafe(9)}"
    hashed = await passwords.hash_password(password)
    async with database.transaction() as tx:
        await members.add_member(
            tx,
            merchant=merchant,
            member=member,
            email=email,
            role="owner",
            password_hash=hashed,
        )
    return {"email": email, "password": password}


async def _key(database: Database, merchant: UUID, pepper: bytes) -> str:
    made = await api_keys.create_key(
        database,
        merchant=merchant,
        request=KeyRequest(name="demo", scopes=sorted(SCOPES)),
        allowed=SCOPES,
        pepper_hash=partial(api_keys.key_hash, pepper),
    )
    assert isinstance(made.secret, str)
    return made.secret


def _program() -> ProgramRequest:
    return ProgramRequest(
        name="Coffee card",
        currency="EUR",
        min_amount=500,
        max_amount=50_000,
        expires_after_months=60,
    )


def _store(path: Path, merchant: dict[str, str]) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(merchant, file)
    fresh.replace(path)


def main(*, as_json: bool = False, stored: bool = True) -> int:
    """Run `florin demo-merchant`; return the exit code.

    Unless `stored`, nothing is read from or written to the home: the merchant is a new one.
    """
    settings = settings_of_process()
    if settings is None:
        return 2
    path = Path(os.environ.get("FLORIN_HOME", ".florin")) / "demo.json"
    try:
        kept: dict[str, str] = {}
        if stored and path.exists():
            kept = json.loads(path.read_text("utf-8"))
        found = asyncio.run(ensure(settings, kept))
        if stored and found != kept:
            _store(path, found)
    except (OSError, ValueError, asyncpg.PostgresError) as error:
        print(f"The demo merchant could not be created: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if as_json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    return 0
