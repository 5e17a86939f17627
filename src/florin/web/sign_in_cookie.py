"""Sign-in cookie: the tokens of a person's session, encrypted, in the browser alone.

There is no session on the server: any instance decrypts the cookie. `__Host-` binds it to this host
over https (RFC 6265bis, 4.1.3); over http, in development, browsers refuse that prefix, so the
cookie is `florin`. `Strict` keeps it out of every request that another site begins.
"""

import base64
import binascii
from http.cookies import CookieError, SimpleCookie

import msgspec

from florin.identity.sessions import LIVES
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.settings import Settings

_BOUND = b"florin sign-in cookie"
_CHALLENGE_BOUND = b"florin sign-in challenge"
_CHALLENGE_S = 300
_COOKIE_MAX = 8192  # characters


class CookieTokens(msgspec.Struct):
    """The pair of tokens in the cookie."""

    access: str
    refresh: str


class SecondStep(msgspec.Struct):
    """What the second step of a sign-in needs from the first, for five minutes."""

    token: str
    next: str


_tokens = msgspec.json.Decoder(CookieTokens)
_second = msgspec.json.Decoder(SecondStep)


def has_secure_cookies(settings: Settings) -> bool:
    """Whether browsers may send cookies over https alone."""
    public = settings.public_url or ""
    return settings.env == "production" or public.startswith("https://")


class SignInCookie:
    """Reads and writes the cookies of sign-in."""

    def __init__(self, sealer: Sealer, settings: Settings) -> None:
        self._sealer = sealer
        self._secure = has_secure_cookies(settings)
        self.name = "__Host-florin" if self._secure else "florin"
        self._step_name = f"{self.name}-step"

    def read_tokens(self, header: str) -> CookieTokens | None:
        """The tokens in a Cookie header; None for none, and for one that Florin did not write."""
        opened = self._open(header, self.name, _BOUND)
        return None if opened is None else _tokens.decode(opened)

    def read_step(self, header: str) -> SecondStep | None:
        opened = self._open(header, self._step_name, _CHALLENGE_BOUND)
        return None if opened is None else _second.decode(opened)

    def keep_tokens(self, tokens: CookieTokens) -> tuple[bytes, bytes]:
        """The header that sets the cookie."""
        sealed = self._seal(msgspec.json.encode(tokens), _BOUND)
        return self._header(self.name, sealed, int(LIVES.total_seconds()))

    def keep_step(self, step: SecondStep) -> tuple[bytes, bytes]:
        sealed = self._seal(msgspec.json.encode(step), _CHALLENGE_BOUND)
        return self._header(self._step_name, sealed, _CHALLENGE_S)

    def end_session(self) -> tuple[bytes, bytes]:
        return self._header(self.name, "", 0)

    def end_step(self) -> tuple[bytes, bytes]:
        return self._header(self._step_name, "", 0)

    def _header(self, name: str, value: str, age_s: int) -> tuple[bytes, bytes]:
        secure = "; Secure" if self._secure else ""
        text = f"{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}"
        return b"set-cookie", text.encode()

    def _seal(self, content: bytes, bound: bytes) -> str:
        return base64.urlsafe_b64encode(
            self._sealer.seal(content.decode(), bound_to=bound)
        ).decode()

    def _open(self, header: str, name: str, bound: bytes) -> bytes | None:
        if len(header) > _COOKIE_MAX:
            return None
        try:
            morsel = SimpleCookie(header).get(name)
            if morsel is None or not morsel.value:
                return None
            sealed = base64.urlsafe_b64decode(morsel.value)
            return self._sealer.unseal(sealed, bound_to=bound).encode()
        except (CookieError, UnsealFailed, binascii.Error, ValueError):
            return None
