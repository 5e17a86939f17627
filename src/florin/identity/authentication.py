"""Authentication: find the caller and its scopes for an API key or an access token.

A caller is cached for CACHED_S: a revocation takes effect on every instance within five seconds,
and a busy client does not cost a query per request.
"""

import time
from dataclasses import dataclass
from uuid import UUID

from florin.identity import api_keys
from florin.identity.credentials.jwt import JwtTokens
from florin.identity.scopes import ROLES
from florin.kit import ids
from florin.kit.errors import Forbidden, Refusal, Unauthenticated
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings

CACHED_S = 4.0
REFUSED_S = 1.0
FRESH_S = 600  # for how long a sign-in or a reauthentication allows changes to members and keys
CACHED_MAX = 10_000
HEADER_MAX = 4096  # characters

_KEY = """
select merchant, id, scopes, location, hash from florin.api_key
where hash = any($1) and revoked_at is null limit 1
"""
_MOVE = "update florin.api_key set hash = $4 where merchant = $1 and id = $2 and hash = $3"
# Returns no row for a session that has ended or a member who was removed.
_SESSION = f"""
select m.role, s.proved_at > clock_timestamp() - interval '{FRESH_S} s' as fresh,
  case when m.totp_confirmed_at is not null then s.second_factor
    else not m.role = any(p.second_factor_roles) end as proved,
  m.email_verified_at is not null as verified
from florin.session s
join florin.member m on m.merchant = s.merchant and m.id = s.member
join florin.merchant p on p.id = s.merchant
where s.merchant = $1 and s.id = $2 and s.member = $3
  and s.revoked_at is null and s.expires_at > clock_timestamp()
"""  # noqa: S608 -- our own text
_NOTHING: frozenset[str] = frozenset()


class SecondFactorRequired(Refusal):
    """Your role needs a second factor: set one up, or sign in with it."""

    code = "second_factor_required"
    status = 403


class ReauthenticationRequired(Refusal):
    """Prove again who you are with POST /auth/reauthentication, then repeat this request."""

    code = "reauthentication_required"
    status = 403


class EmailNotVerified(Refusal):
    """Verify your e-mail address first: ask for the e-mail by POST /auth/email-verifications."""

    code = "email_not_verified"
    status = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A member who has signed in, and by which sign-in."""

    merchant: UUID
    member: UUID
    session: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The authenticated caller of a request.

    `actor`: its name in entries and logs. `role`, `person`: set for members only. `location`: the
    only location where a key may act. `fresh`: the member signed in or reauthenticated recently.
    `verified`: false for a member who has to verify the e-mail address first. A member who still
    has to set up a second factor has no scopes.
    """

    merchant: UUID
    actor: str
    scopes: frozenset[str]
    role: str | None = None
    person: Person | None = None
    location: str | None = None
    fresh: bool = False
    verified: bool = True

    def needs(self, scope: str) -> None:
        """Raises Forbidden, SecondFactorRequired."""
        if scope not in self.scopes:
            if self.person is not None and not self.scopes:
                raise SecondFactorRequired
            raise Forbidden(f"This request needs the scope {scope}")

    def signed_in(self) -> Person:
        """The signed-in member. Raises Forbidden for an API key."""
        if self.person is None:
            raise Forbidden("This request is for members who sign in, not for API keys")
        return self.person

    def needs_verified_email(self) -> None:
        """Raises EmailNotVerified."""
        if not self.verified:
            raise EmailNotVerified

    def needs_fresh_proof(self) -> None:
        """Raises ReauthenticationRequired for a member whose last proof of identity is too old."""
        if self.person is not None and not self.fresh:
            raise ReauthenticationRequired


class Authenticator:
    """Finds and caches callers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._peppers = [each.encode() for each in settings.key_ring("key_pepper")]
        self._tokens = JwtTokens(settings)
        self._verify = settings.needs_verified_email
        self._known: dict[str, tuple[float, Caller | None]] = {}

    def hash_of(self, secret: str) -> bytes:
        return api_keys.key_hash(self._peppers[0], secret)

    def forget(self, actor: str) -> None:
        """Drop a caller from this instance's cache; on other instances its entry expires."""
        for authorization, (_, caller) in list(self._known.items()):
            if caller is not None and caller.actor == actor:
                del self._known[authorization]

    def cached(self, authorization: str | None) -> Caller | None:
        """The caller, if it is cached; after None call `caller`."""
        known = self._known.get(authorization) if authorization is not None else None
        return known[1] if known is not None and known[0] > time.monotonic() else None

    async def caller(self, authorization: str | None, *, anew: bool = False) -> Caller:
        """Find the caller; `anew`: from the database, not from the cache.

        Raises Unauthenticated.
        """
        if authorization is None or len(authorization) > HEADER_MAX:
            raise Unauthenticated
        known = None if anew else self._known.get(authorization)
        if known is None or known[0] <= time.monotonic():
            caller = await self._find(authorization)
            kept_s = REFUSED_S if caller is None else CACHED_S
            if len(self._known) >= CACHED_MAX:
                self._known.clear()  # costs one query per caller; simpler than eviction by age
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
        if credential.startswith(api_keys.PREFIX):
            return await self._by_key(credential)
        claims = self._tokens.read_access(credential)
        if claims is None:
            return None
        row = await self._database.one(_SESSION, claims.merchant, claims.session, claims.member)
        if row is None:
            return None
        return Caller(
            merchant=claims.merchant,
            actor=ids.show_id("usr", claims.member),
            scopes=ROLES[row["role"]] if row["proved"] else _NOTHING,
            role=row["role"],
            person=Person(merchant=claims.merchant, member=claims.member, session=claims.session),
            verified=row["verified"] or not self._verify,
            fresh=bool(row["fresh"]),
        )

    async def _by_key(self, secret: str) -> Caller | None:
        if not api_keys.is_well_formed(secret):
            return None
        hashes = [api_keys.key_hash(pepper, secret) for pepper in self._peppers]
        row = await self._database.one(_KEY, hashes)
        if row is None:
            return None
        if row["hash"] != hashes[0]:  # hashed with an older pepper: hash it with the current one
            await self._database.one(_MOVE, row["merchant"], row["id"], row["hash"], hashes[0])
        return Caller(
            merchant=row["merchant"],
            actor=ids.show_id("key", row["id"]),
            scopes=frozenset(row["scopes"]),
            location=row["location"],
        )
