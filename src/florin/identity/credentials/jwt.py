"""JWT: access tokens, refresh tokens and challenges: JSON Web Tokens (RFC 7519, RFC 8725), HS256.

A token is accepted only if it equals, byte for byte, the token that Florin writes for these claims:
one algorithm, a fixed header that names the key, exactly the expected claims. So nothing in a token
decides how it is checked, and each token has one encoding.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID

import jwt
import msgspec

from florin.kit import ids
from florin.kit.settings import Settings

ACCESS_S = 900
CHALLENGE_S = 300
_ALGORITHM = "HS256"
_ISSUER = "florin"
_AUDIENCE = "florin-api"
_LEEWAY_S = 5
_TOKEN_MAX = 2048  # characters; Florin's tokens have about 500

Kind = Literal["at+jwt", "rt+jwt", "mfa+jwt"]


class _Common(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    iss: str
    aud: str
    sub: str
    mer: str
    iat: int
    nbf: int
    exp: int
    jti: str


class _Session(_Common, kw_only=True):
    sid: str


class _Challenge(_Common, kw_only=True):
    st: str  # a hash of the password hash: changing the password ends the challenge


_Any = TypeVar("_Any", bound=_Common)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The member and session of a token. `jti` identifies a refresh token within its session."""

    merchant: UUID
    member: UUID
    session: UUID
    jti: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeClaims:
    """A member who has proved the password but not yet the second factor."""

    merchant: UUID
    member: UUID
    state: str


class _Key:
    """A signing key and the token header that names it."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.kid = hashlib.sha256(b"florin kid\0" + secret.encode()).hexdigest()[:12]

    def begins(self, kind: Kind) -> str:
        return jwt.encode({}, self.secret, _ALGORITHM, {"typ": kind, "kid": self.kid}).split(".")[0]


class _Ring:
    """The keys of one kind of token: the first one signs, all are accepted."""

    def __init__(self, kind: Kind, secrets: tuple[str, ...]) -> None:
        self._kind: Kind = kind
        self._keys = [_Key(secret) for secret in secrets]
        self._begins = {key.begins(kind): key for key in self._keys}

    def sign(self, claims: dict[str, Any]) -> str:
        return self._sign(self._keys[0], claims)

    def read(self, token: str, shape: type[_Any]) -> _Any | None:
        key = self._begins.get(token.partition(".")[0]) if len(token) <= _TOKEN_MAX else None
        if key is None:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=_LEEWAY_S,
            )
            read = msgspec.convert(claims, shape)
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, RecursionError):
            return None
        return read if self._sign(key, msgspec.to_builtins(read)) == token else None

    def _sign(self, key: _Key, claims: dict[str, Any]) -> str:
        headers = {"typ": self._kind, "kid": key.kid}
        return jwt.encode(claims, key.secret, _ALGORITHM, headers)


class JwtTokens:
    """Signs tokens and reads them; reading any invalid token returns None."""

    def __init__(self, settings: Settings) -> None:
        self._access = _Ring("at+jwt", settings.key_ring("jwt_secret"))
        self._challenge = _Ring("mfa+jwt", settings.key_ring("jwt_secret"))
        self._refresh = _Ring("rt+jwt", settings.key_ring("jwt_refresh_secret"))

    def access(self, merchant: UUID, member: UUID, session: UUID) -> str:
        now = int(time.time())
        claims = _claims(merchant, member, now, now + ACCESS_S, ids.new_id().hex)
        return self._access.sign(claims | {"sid": ids.show_id("ses", session)})

    def read_access(self, token: str) -> Claims | None:
        read = self._access.read(token, _Session)
        return _claimed(read) if read and read.exp - read.iat == ACCESS_S else None

    def refresh(
        self, merchant: UUID, member: UUID, session: UUID, *, jti: str, since: int, until: int
    ) -> str:
        """`since`, `until`: seconds since 1970. The same arguments make the same token."""
        claims = _claims(merchant, member, since, until, jti)
        return self._refresh.sign(claims | {"sid": ids.show_id("ses", session)})

    def read_refresh(self, token: str) -> Claims | None:
        read = self._refresh.read(token, _Session)
        return _claimed(read) if read else None

    def challenge(self, merchant: UUID, member: UUID, state: str) -> str:
        now = int(time.time())
        claims = _claims(merchant, member, now, now + CHALLENGE_S, ids.new_id().hex)
        return self._challenge.sign(claims | {"st": state})

    def read_challenge(self, token: str) -> ChallengeClaims | None:
        read = self._challenge.read(token, _Challenge)
        merchant, member = _who(read) if read else (None, None)
        if read is None or merchant is None or member is None:
            return None
        return ChallengeClaims(merchant=merchant, member=member, state=read.st)


def password_state(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:32]


def _claims(merchant: UUID, member: UUID, since: int, until: int, jti: str) -> dict[str, Any]:
    return {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": ids.show_id("usr", member),
        "mer": ids.show_id("mer", merchant),
        "iat": since,
        "nbf": since,
        "exp": until,
        "jti": jti,
    }


def _who(read: _Common) -> tuple[UUID | None, UUID | None]:
    return ids.parse_id("mer", read.mer), ids.parse_id("usr", read.sub)


def _claimed(read: _Session) -> Claims | None:
    merchant, member = _who(read)
    session = ids.parse_id("ses", read.sid)
    if merchant is None or member is None or session is None:
        return None
    return Claims(merchant=merchant, member=member, session=session, jti=read.jti)
