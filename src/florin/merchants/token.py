"""Token: access and refresh tokens, JSON Web Tokens (RFC 7519, RFC 8725) signed by HS256.

One algorithm, chosen here and not by the token; kind, issuer and audience are checked.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from florin.kit import ids
from florin.kit.settings import Settings

ACCESS_S = 900
REFRESH_DAYS = 30
_ALGORITHM = "HS256"
_ISSUER = "florin"
_AUDIENCE = "florin-api"
_REQUIRED = ["iss", "aud", "sub", "mer", "iat", "exp", "jti"]
_LEEWAY_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    merchant: UUID
    member: UUID


class Tokens:
    """Signs tokens and reads them."""

    def __init__(self, settings: Settings) -> None:
        self._access = settings.jwt_secret.get_secret_value()
        self._refresh = settings.jwt_refresh_secret.get_secret_value()

    def access(self, merchant: UUID, member: UUID) -> str:
        return self._sign(self._access, "at+jwt", merchant, member, timedelta(seconds=ACCESS_S))

    def refresh(self, merchant: UUID, member: UUID) -> str:
        return self._sign(self._refresh, "rt+jwt", merchant, member, timedelta(days=REFRESH_DAYS))

    def read_access(self, token: str) -> Claims | None:
        """Read an access token; None whatever is wrong with it."""
        try:
            if jwt.get_unverified_header(token).get("typ") != "at+jwt":
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                self._access,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError:
            return None
        merchant = ids.parse("mer", str(claims["mer"]))
        member = ids.parse("usr", str(claims["sub"]))
        if merchant is None or member is None:
            return None
        return Claims(merchant=merchant, member=member)

    def _sign(self, secret: str, kind: str, merchant: UUID, member: UUID, lives: timedelta) -> str:
        now = datetime.now(UTC)
        return jwt.encode(
            {
                "iss": _ISSUER,
                "aud": _AUDIENCE,
                "sub": ids.show("usr", member),
                "mer": ids.show("mer", merchant),
                "iat": now,
                "exp": now + lives,
                "jti": ids.new().hex,
            },
            secret,
            algorithm=_ALGORITHM,
            headers={"typ": kind},
        )
