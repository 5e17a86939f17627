"""API keys: shown once, stored as a keyed hash. A checksum in the key detects typing mistakes."""

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
from florin.identity.quotas import require_quota_left
from florin.identity.scopes import ROLES, SCOPES
from florin.kit import ids
from florin.kit.encryption import keyed_hash
from florin.kit.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from florin.kit.http.body import Request, Text, fingerprint
from florin.kit.postgres.database import Database, Tx
from florin.kit.postgres.idempotency import claim_key

PREFIX = "flk_"
_RANDOM = 40  # symbols of 5 bits: 200 bits
_CHECK = 6  # hexadecimal digits
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

_MAKER_KEY = """
select scopes from florin.api_key
where merchant = $1 and id = $2 and revoked_at is null for share
"""
_MAKER_MEMBER = """
select m.role from florin.session s
join florin.member m on m.merchant = s.merchant and m.id = s.member
where s.merchant = $1 and s.id = $2
  and s.revoked_at is null and s.expires_at > clock_timestamp() for share
"""


class KeyRequest(Request, kw_only=True):
    """An API key for one of your programs. It can have only scopes that its creator has. With a
    `location`, it can redeem and hold only there, and each of its entries names that location.
    """

    name: Text
    scopes: Annotated[list[str], Meta(min_length=1, max_length=50)]
    location: Text | None = None


class ApiKey(msgspec.Struct, kw_only=True):
    """An API key. `secret` is shown only once, when the key is created. `made_by`: the member or
    the key that created it; null for keys from before this was recorded.
    """

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    scopes: list[str]
    location: str | None
    made_by: str | None
    created_at: datetime
    revoked_at: datetime | None
    secret: str | msgspec.UnsetType = msgspec.UNSET


def make_secret() -> str:
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{PREFIX}{body}{_checksum(body)}"


def is_well_formed(secret: str) -> bool:
    body = secret[len(PREFIX) :]
    return (
        len(body) == _RANDOM + _CHECK
        and body.isascii()
        and body[_RANDOM:] == _checksum(body[:_RANDOM])
    )


def key_hash(pepper: bytes, secret: str) -> bytes:
    return keyed_hash(pepper, secret.encode())


async def create_key(
    database: Database,
    *,
    merchant: UUID,
    request: KeyRequest,
    allowed: frozenset[str],
    pepper_hash: Any,
    by: AuditActor | None = None,
    session: UUID | None = None,
    location: str | None = None,
    under: str | None = None,
) -> ApiKey:
    """Create a key. A key that was created `under` the same idempotency key before is returned
    without its secret, since only the hash is stored. `location`: the one that limits the creator.

    Raises InvalidRequest for an unknown scope, Forbidden for a scope that the creator lacks,
    Unauthenticated if the creator's key or `session` has ended, and QuotaExceeded, except for a
    key that Florin itself creates.
    """
    unknown = sorted(set(request.scopes) - SCOPES)
    if unknown:
        raise InvalidRequest(
            f"Unknown scope {unknown[0]!r}; the scopes are {', '.join(sorted(SCOPES))}",
            param="scopes",
        )
    _require_within(allowed, request)
    if location is not None and request.location != location:
        raise Forbidden(f"You can only create keys for the location {location}")
    secret, uuid = make_secret(), ids.new_id()
    by = by or AuditActor(merchant=merchant, actor=audit_log.FLORIN)
    async with database.transaction() as tx:
        _require_within(await _creator_scopes(tx, by, session), request)
        first = (
            uuid
            if under is None
            else await _claim_idempotency_key(tx, merchant, under, request, uuid)
        )
        if first != uuid:
            before = await tx.one(
                "select * from florin.api_key where merchant = $1 and id = $2", merchant, first
            )
            assert before is not None
            return key_from_row(before)
        if by.actor != audit_log.FLORIN:
            await require_quota_left(tx, merchant, "api_keys")
        row = await tx.one(
            "insert into florin.api_key (merchant, id, name, scopes, location, made_by, hash)"
            " values ($1, $2, $3, $4, $5, $6, $7) returning *",
            merchant,
            uuid,
            request.name,
            sorted(set(request.scopes)),
            request.location,
            by.actor,
            pepper_hash(secret),
        )
        assert row is not None
        made = key_from_row(row)
        await audit_log.record_audit(tx, by, "api_key.created", made.id, after=facts(made))
    return msgspec.structs.replace(made, secret=secret)


def _require_within(allowed: frozenset[str], request: KeyRequest) -> None:
    lacking = sorted(set(request.scopes) - allowed)
    if lacking:
        raise Forbidden(f"You cannot give a key the scope {lacking[0]}, which you do not have")


async def _creator_scopes(tx: Tx, by: AuditActor, session: UUID | None) -> frozenset[str]:
    """The scopes that the creator of a key has now. Its row stays locked until the new key is
    committed, so that a concurrent revocation of the creator also finds the new key.

    Raises Unauthenticated.
    """
    key = ids.parse_id("key", by.actor)
    if key is None and session is None:
        return SCOPES  # created by Florin itself
    row = await (
        tx.one(_MAKER_KEY, by.merchant, key)
        if key is not None
        else tx.one(_MAKER_MEMBER, by.merchant, session)
    )
    if row is None:
        raise Unauthenticated
    return ROLES[row["role"]] if key is None else frozenset(row["scopes"])


async def _claim_idempotency_key(
    tx: Tx, merchant: UUID, under: str, request: KeyRequest, noun: UUID
) -> UUID:
    return await claim_key(
        tx,
        merchant=merchant,
        key=under,
        operation="create-key",
        fingerprint=fingerprint("create-key", request),
        noun=noun,
    )


async def list_keys(
    database: Database, merchant: UUID, *, limit: int, after: UUID | None
) -> list[ApiKey]:
    rows = await database.all(
        "select * from florin.api_key where merchant = $1 and ($2::uuid is null or id < $2)"
        " order by id desc limit $3",
        merchant,
        after,
        limit,
    )
    return [key_from_row(row) for row in rows]


async def find_key(database: Database, merchant: UUID, text: str) -> ApiKey:
    """Raises NotFound."""
    row = await database.one(
        "select * from florin.api_key where merchant = $1 and id = $2", merchant, key_id(text)
    )
    if row is None:
        raise NotFound
    return key_from_row(row)


def key_from_row(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=ids.show_id("key", row["id"]),
        name=row["name"],
        scopes=list(row["scopes"]),
        location=row["location"],
        made_by=row["made_by"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )


def key_id(text: str) -> UUID:
    """Raises NotFound."""
    return ids.require_id("key", text)


def facts(key: ApiKey) -> dict[str, Any]:
    return {"name": key.name, "scopes": key.scopes, "location": key.location}


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()) & 0xFFFFFF:06x}"
