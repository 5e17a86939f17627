"""Access: from credentials to a caller: an API key or an access token, and what it allows.

A caller is remembered for CACHED_S, so that a revocation holds everywhere within five seconds and
a busy till does not ask the database at every request.
"""

import time
from dataclasses import dataclass
from uuid import UUID

from florin.kit import ids
from florin.kit.db import Database
from florin.kit.errors import Forbidden, Unauthenticated
from florin.kit.settings import Settings
from florin.merchants import key, token
from florin.merchants.scopes import ROLES

CACHED_S = 4.0
REFUSED_S = 1.0
CACHED_MAX = 10_000
HEADER_MAX = 4096  # characters

_KEY = """
select merchant, id, scopes from florin.api_key where hash = $1 and revoked_at is null limit 1
"""
_MEMBER = "select role from florin.member where merchant = $1 and id = $2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `actor` is what entries and logs call him; `role` is set for people only."""

    merchant: UUID
    actor: str
    scopes: frozenset[str]
    role: str | None = None

    def needs(self, scope: str) -> None:
        """Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs the scope {scope}")


class Access:
    """Finds callers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._key_pepper = settings.key_pepper.get_secret_value().encode()
        self._tokens = token.Tokens(settings)
        self._known: dict[str, tuple[float, Caller | None]] = {}

    @property
    def tokens(self) -> token.Tokens:
        return self._tokens

    def hash_of(self, secret: str) -> bytes:
        return key.lookup_hash(self._key_pepper, secret)

    def cached(self, authorization: str | None) -> Caller | None:
        """The caller, where he was found a moment ago; None says only to ask `caller`."""
        known = self._known.get(authorization) if authorization is not None else None
        return known[1] if known is not None and known[0] > time.monotonic() else None

    async def caller(self, authorization: str | None) -> Caller:
        """Find out who asks. Raises Unauthenticated."""
        if authorization is None or len(authorization) > HEADER_MAX:
            raise Unauthenticated
        known = self._known.get(authorization)
        if known is None or known[0] <= time.monotonic():
            caller = await self._find(authorization)
            kept_s = REFUSED_S if caller is None else CACHED_S
            if len(self._known) >= CACHED_MAX:
                self._known.clear()  # rebuilt in one query a caller; simpler than an order of age
            self._known[authorization] = (time.monotonic() + kept_s, caller)
        else:
            caller = known[1]
        if caller is None:
            raise Unauthenticated
        return caller

    async def _find(self, authorization: str) -> Caller | None:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            return None
        if credential.startswith(key.PREFIX):
            return await self._by_key(credential)
        claims = self._tokens.read_access(credential)
        if claims is None:
            return None
        row = await self._database.one(_MEMBER, claims.merchant, claims.member)
        if row is None:
            return None
        return Caller(
            merchant=claims.merchant,
            actor=ids.show("usr", claims.member),
            scopes=ROLES[row["role"]],
            role=row["role"],
        )

    async def _by_key(self, secret: str) -> Caller | None:
        if not key.well_formed(secret):
            return None
        row = await self._database.one(_KEY, self.hash_of(secret))
        if row is None:
            return None
        return Caller(
            merchant=row["merchant"],
            actor=ids.show("key", row["id"]),
            scopes=frozenset(row["scopes"]),
        )
