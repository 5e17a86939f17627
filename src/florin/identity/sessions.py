"""Sessions: a session is one sign-in: a family of refresh tokens, of which the newest is valid.

A refresh token is used once and replaced. If an old one is used again, it or its successor was
stolen: the session is revoked. Two cases are not reuse: a client that lost the response may repeat
its request within REPEAT_S and gets the same successor; of concurrent requests one creates the
successor and the others count as such repeats. The successor is derived from the old token and a
random nonce: it can be derived again for a client that has the old token, and the database stores
neither token.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from florin.identity import audit_log
from florin.identity.audit_log import AuditActor
from florin.identity.credentials.jwt import ACCESS_S, JwtTokens
from florin.identity.services import IdentityServices, RequestOrigin
from florin.kit import ids
from florin.kit.errors import NotFound, Refusal, Unauthenticated
from florin.kit.postgres.database import Database, Row, Tx

REPEAT_S = 10
LIVES = timedelta(days=30)
IDLE = timedelta(days=7)
_BYTES = 32

_ROTATE = """
update florin.session set previous_hash = current_hash, current_hash = $4, nonce = $5,
  client_hash = $6, rotated_at = clock_timestamp()
where merchant = $1 and id = $2 and current_hash = $3
  and revoked_at is null and expires_at > clock_timestamp()
returning member, rotated_at, expires_at
"""
_REPEAT = f"""
select member, nonce, rotated_at, expires_at from florin.session
where merchant = $1 and id = $2 and previous_hash = $3 and client_hash = $4
  and revoked_at is null and expires_at > clock_timestamp()
  and rotated_at > clock_timestamp() - interval '{REPEAT_S} s'
"""  # noqa: S608 -- our own text
_REUSED = """
update florin.session set reused = true, revoked_at = clock_timestamp()
where merchant = $1 and id = $2 and revoked_at is null returning member
"""


class TokenReused(Refusal):
    """This refresh token was used before: its session is revoked. Sign in again."""

    code = "token_reused"
    status = 401


class SignedIn(msgspec.Struct, kw_only=True):
    """`access_token`: for requests; `refresh_token`: for the next pair of tokens, once."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a kind, not a secret
    expires_in: int = ACCESS_S


class Session(msgspec.Struct, kw_only=True):
    """One of your sessions. `current`: the one that sent this request; `proved_at`: when you last
    signed in or reauthenticated in it.
    """

    id: str
    object: Literal["session"] = "session"
    second_factor: bool
    current: bool
    proved_at: datetime | None
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


async def begin_session(
    tx: Tx,
    identity: IdentityServices,
    client: RequestOrigin,
    merchant: UUID,
    member: UUID,
    *,
    second_factor: bool,
) -> SignedIn:
    """Begin a session for a member."""
    session, jti = ids.new_id(), secrets.token_urlsafe(_BYTES)
    row = await tx.one(
        "insert into florin.session (merchant, id, member, current_hash, client_hash, address_hash,"
        " second_factor, proved_at, expires_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp() + $8)"
        " returning member, rotated_at, expires_at",
        merchant,
        session,
        member,
        _hash(jti),
        client.program,
        client.place,
        second_factor,
        LIVES,
    )
    assert row is not None
    return _pair(identity.tokens, merchant, session, jti, row)


async def refresh_session(
    identity: IdentityServices, client: RequestOrigin, presented: str
) -> tuple[SignedIn, str]:
    """Return the next pair of tokens and the member's id. Raises Unauthenticated, TokenReused."""
    claims = identity.tokens.read_refresh(presented)
    if claims is None:
        raise Unauthenticated
    merchant, session = claims.merchant, claims.session
    old = claims.jti
    nonce = secrets.token_bytes(_BYTES)
    successor = _successor(old, nonce)
    async with identity.database.transaction() as tx:
        row = await tx.one(
            _ROTATE, merchant, session, _hash(old), _hash(successor), nonce, client.program
        )
        if row is None:
            row = await tx.one(_REPEAT, merchant, session, _hash(old), client.program)
            successor = _successor(old, row["nonce"]) if row is not None else successor
        ended = (
            await _end(tx, client.audit_actor(merchant, audit_log.ANONYMOUS), session)
            if row is None
            else False
        )
    if row is not None:
        pair = _pair(identity.tokens, merchant, session, successor, row)
        return pair, ids.show_id("usr", row["member"])
    raise TokenReused if ended else Unauthenticated


async def revoke_session(tx: Tx, merchant: UUID, member: UUID, session: UUID) -> Row | None:
    """Revoke one session of a member."""
    return await tx.one(
        "update florin.session set revoked_at = coalesce(revoked_at, clock_timestamp())"
        " where merchant = $1 and member = $2 and id = $3 returning *",
        merchant,
        member,
        session,
    )


async def revoke_sessions(tx: Tx, merchant: UUID, member: UUID, *, but: UUID | None = None) -> None:
    """Revoke all sessions of a member, except `but`."""
    await tx.run(
        "update florin.session set revoked_at = clock_timestamp()"
        " where merchant = $1 and member = $2 and revoked_at is null"
        " and ($3::uuid is null or id <> $3)",
        merchant,
        member,
        but,
    )


async def list_sessions(
    database: Database, merchant: UUID, member: UUID, *, limit: int, after: UUID | None
) -> list[Row]:
    """List the sessions that have not ended."""
    return list(
        await database.all(
            "select * from florin.session where merchant = $1 and member = $2"
            " and ($3::uuid is null or id < $3)"
            " and revoked_at is null and expires_at > clock_timestamp() order by id desc limit $4",
            merchant,
            member,
            after,
            limit,
        )
    )


async def find_session(database: Database, merchant: UUID, member: UUID, text: str) -> Row:
    """Raises NotFound."""
    row = await database.one(
        "select * from florin.session where merchant = $1 and member = $2 and id = $3",
        merchant,
        member,
        parse_session_id(text),
    )
    if row is None:
        raise NotFound
    return row


def parse_session_id(text: str) -> UUID:
    """Raises NotFound."""
    uuid = ids.parse_id("ses", text)
    if uuid is None:
        raise NotFound
    return uuid


def session_from_row(row: Row, *, current: UUID | None) -> Session:
    return Session(
        id=ids.show_id("ses", row["id"]),
        second_factor=row["second_factor"],
        current=row["id"] == current,
        proved_at=row["proved_at"],
        created_at=row["created_at"],
        refreshed_at=row["rotated_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


async def _end(tx: Tx, by: AuditActor, session: UUID) -> bool:
    """Revoke the session of a reused token. Returns whether reuse is why it has ended."""
    row = await tx.one(_REUSED, by.merchant, session)
    if row is None:
        return bool(
            await tx.value(
                "select reused from florin.session where merchant = $1 and id = $2",
                by.merchant,
                session,
            )
        )
    await audit_log.record_audit(
        tx,
        by,
        "session.reused",
        ids.show_id("ses", session),
        after={"member": ids.show_id("usr", row["member"])},
    )
    return True


def _pair(tokens: JwtTokens, merchant: UUID, session: UUID, jti: str, row: Row) -> SignedIn:
    """Derived from the row alone, so that a repeat gets the same refresh token."""
    return SignedIn(
        access_token=tokens.access(merchant, row["member"], session),
        refresh_token=tokens.refresh(
            merchant,
            row["member"],
            session,
            jti=jti,
            since=int(row["rotated_at"].timestamp()),
            until=int(min(row["expires_at"], row["rotated_at"] + IDLE).timestamp()),
        ),
    )


def _successor(old: str, nonce: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(old.encode(), nonce, "sha256")).decode()


def _hash(jti: str) -> bytes:
    return hashlib.sha256(jti.encode()).digest()
