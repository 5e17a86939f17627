"""API keys: API keys: shown once, found by a keyed hash, told from a typing mistake by a
checksum.
"""

import secrets
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.encryption import keyed_hash
from florin.kit.errors import Forbidden, InvalidRequest, NotFound
from florin.kit.http.body import Request, Text, fingerprint
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.idempotency import once

PREFIX = "flk_"
_RANDOM = 40  # symbols of 5 bits: 200 bits
_CHECK = 6  # hexadecimal digits
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class KeyRequest(Request, kw_only=True):
    """A key for a program of yours. It may be given what its maker is allowed, and no more. With a
    `location` it redeems and holds there only, and says so on each.
    """

    name: Text
    scopes: Annotated[list[str], Meta(min_length=1, max_length=50)]
    location: Text | None = None


class ApiKey(msgspec.Struct, kw_only=True):
    """An API key. `secret` is shown once, when it is made."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    scopes: list[str]
    location: str | None
    created_at: datetime
    revoked_at: datetime | None
    secret: str | msgspec.UnsetType = msgspec.UNSET


def make() -> str:
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{PREFIX}{body}{_checksum(body)}"


def well_formed(secret: str) -> bool:
    body = secret[len(PREFIX) :]
    return (
        len(body) == _RANDOM + _CHECK
        and body.isascii()
        and body[_RANDOM:] == _checksum(body[:_RANDOM])
    )


def lookup_hash(pepper: bytes, secret: str) -> bytes:
    return keyed_hash(pepper, secret.encode())


async def create(
    database: Database,
    *,
    merchant: UUID,
    want: KeyRequest,
    allowed: frozenset[str],
    pepper_hash: Any,
    by: AuditActor | None = None,
    location: str | None = None,
    under: str | None = None,
) -> ApiKey:
    """Raises InvalidRequest for an unknown scope, Forbidden for one its maker lacks. `location`:
    the one its maker is bound to. What was made `under` the same idempotency key before is
    returned without its secret: only its hash was kept.
    """
    unknown = sorted(set(want.scopes) - SCOPES)
    if unknown:
        raise InvalidRequest(
            f"{unknown[0]} is no scope; there are {', '.join(sorted(SCOPES))}", param="scopes"
        )
    lacking = sorted(set(want.scopes) - allowed)
    if lacking:
        raise Forbidden(f"you cannot give away {lacking[0]}, which you lack")
    if location is not None and want.location != location:
        raise Forbidden(f"you cannot make a key for another location than {location}")
    secret, uuid = make(), ids.new()
    async with database.transaction() as tx:
        first = uuid if under is None else await _once(tx, merchant, under, want, uuid)
        if first != uuid:
            before = await tx.one(
                "select * from florin.api_key where merchant = $1 and id = $2", merchant, first
            )
            assert before is not None
            return from_row(before)
        row = await tx.one(
            "insert into florin.api_key (merchant, id, name, scopes, location, hash)"
            " values ($1, $2, $3, $4, $5, $6) returning *",
            merchant,
            uuid,
            want.name,
            sorted(set(want.scopes)),
            want.location,
            pepper_hash(secret),
        )
        assert row is not None
        made = from_row(row)
        by = by or AuditActor(merchant=merchant, actor=audit_log.FLORIN)
        await audit_log.record(tx, by, "api_key.created", made.id, after=_facts(made))
    return msgspec.structs.replace(made, secret=secret)


async def _once(tx: Tx, merchant: UUID, under: str, want: KeyRequest, noun: UUID) -> UUID:
    return await once(
        tx,
        merchant=merchant,
        key=under,
        operation="create-key",
        fingerprint=fingerprint("create-key", want),
        noun=noun,
    )


async def listed(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None
) -> list[ApiKey]:
    rows = await database.all(
        "select * from florin.api_key where merchant = $1 and ($2::uuid is null or id < $2)"
        " order by id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [from_row(row) for row in rows]


async def find(database: Database, merchant: UUID, text: str) -> ApiKey:
    """Raises NotFound."""
    row = await database.one(
        "select * from florin.api_key where merchant = $1 and id = $2", merchant, _id(text)
    )
    if row is None:
        raise NotFound
    return from_row(row)


async def revoke(database: Database, by: AuditActor, text: str) -> ApiKey:
    """Raises NotFound. A key that was revoked before stays so."""
    async with database.transaction() as tx:
        row = await tx.one(
            "update florin.api_key set revoked_at = clock_timestamp()"
            " where merchant = $1 and id = $2 and revoked_at is null returning *",
            by.merchant,
            _id(text),
        )
        if row is not None:
            revoked = from_row(row)
            await audit_log.record(tx, by, "api_key.revoked", text, before=_facts(revoked))
            return revoked
    return await find(database, by.merchant, text)


def from_row(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=ids.show("key", row["id"]),
        name=row["name"],
        scopes=list(row["scopes"]),
        location=row["location"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )


def _id(text: str) -> UUID:
    uuid = ids.parse("key", text)
    if uuid is None:
        raise NotFound
    return uuid


def _facts(key: ApiKey) -> dict[str, Any]:
    return {"name": key.name, "scopes": key.scopes, "location": key.location}


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()) & 0xFFFFFF:06x}"
