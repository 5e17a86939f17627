"""Visitors: the person who signed in, found from the cookie of a page's request.

When the access token has expired, the next pair is made and the cookie replaced with it. Tabs that
do so at the same time, on any instance, get the same pair: see `identity/sessions.py`.
"""

from dataclasses import dataclass

from florin.identity import sessions
from florin.identity.authentication import Authenticator, Caller
from florin.identity.services import IdentityServices
from florin.kit.errors import Unauthenticated
from florin.kit.http.asgi import Scope, asgi_scope
from florin.kit.http.litestar_adapter import AnyRequest
from florin.web.sign_in_cookie import CookieTokens, SignInCookie


class SignInNeeded(Exception):
    """The page is for people who signed in. `retry`: the cookie may have been held back."""

    def __init__(self, *, retry: bool = False) -> None:
        super().__init__()
        self.retry = retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A member who signed in, with the header that the API accepts for this person."""

    caller: Caller
    authorization: str


class Visitors:
    """Finds the visitor of a request."""

    def __init__(
        self, access: Authenticator, identity: IdentityServices, cookie: SignInCookie
    ) -> None:
        self._access = access
        self._identity = identity
        self.cookie = cookie

    async def find(self, request: AnyRequest) -> Visitor:
        """Raises SignInNeeded."""
        scope = asgi_scope(request)
        header = request.headers.get("cookie", "")
        tokens = self.cookie.read_tokens(header)
        if tokens is None:
            # A browser leaves a strict cookie out when a link of another site leads here. The page
            # asks once more from its own origin, and then the browser sends it.
            crossed = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
            raise SignInNeeded(retry=crossed and request.method == "GET")
        try:
            return await self._admit(scope, f"Bearer {tokens.access}")
        except Unauthenticated:
            pass
        try:
            pair, _ = await sessions.refresh_session(
                self._identity, self._identity.client(request), tokens.refresh
            )
        except (Unauthenticated, sessions.TokenReused):
            keep_header(scope, self.cookie.end_session())
            raise SignInNeeded from None
        renewed = CookieTokens(pair.access_token, pair.refresh_token)
        keep_header(scope, self.cookie.keep_tokens(renewed))
        try:
            return await self._admit(scope, f"Bearer {pair.access_token}")
        except Unauthenticated:
            raise SignInNeeded from None

    async def of_token(self, request: AnyRequest, access_token: str) -> Visitor:
        """The visitor of a new session. Raises Unauthenticated."""
        return await self._admit(asgi_scope(request), f"Bearer {access_token}")

    async def _admit(self, scope: Scope, authorization: str) -> Visitor:
        caller = await self._access.caller(authorization)
        scope["actor"] = caller.actor  # for the request log
        return Visitor(caller=caller, authorization=authorization)


def keep_header(scope: Scope, header: tuple[bytes, bytes]) -> None:
    """Send a header with the answer, also with an error page."""
    kept = scope.setdefault("response_headers", [])
    kept[:] = [each for each in kept if each[1].split(b"=")[0] != header[1].split(b"=")[0]]
    kept.append(header)
