"""Client: requests of the test merchant to one address, without any retry."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from florin.gate.merchant import CheckMerchant

_OK_BELOW = 300
_SERVER_ERROR = 500
_WITHIN_S = 40.0
_SHOWN = 200  # characters of an unexpected answer


class CheckFailed(Exception):
    """A check found a fault; the message says which."""


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """Status and document; status 0 means that no answer arrived, and `reason` says why."""

    status: int
    document: dict[str, Any]
    reason: str = ""

    @property
    def ok(self) -> bool:
        return 0 < self.status < _OK_BELOW

    @property
    def unknown(self) -> bool:
        """Whether the outcome is unknown: no answer, or a server error."""
        return self.status == 0 or self.status >= _SERVER_ERROR


class CheckClient:
    """Sends requests; a POST has a new idempotency key each time."""

    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self._http = http
        self.address = address

    async def send(self, method: str, path: str, body: object = None) -> CheckAnswer:
        """Send one request; never raises for an error of the server or the connection."""
        keyed = {"Idempotency-Key": f"gate-{uuid.uuid4()}"} if method == "POST" else {}
        try:
            answer = await self._http.request(method, path, json=body, headers=keyed)
            found: Any = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            return CheckAnswer(0, {}, f"{type(error).__name__}: {error}".rstrip(": "))
        reason = "" if answer.status_code < _OK_BELOW else answer.text[:_SHOWN]
        document = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        return CheckAnswer(answer.status_code, document, reason)

    async def require(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the document of a successful request. Raises CheckFailed."""
        answer = await self.send(method, path, body)
        if not answer.ok:
            what = f"{answer.status} {answer.reason}" if answer.status else answer.reason
            raise CheckFailed(f"{method} {path.split('?', maxsplit=1)[0]} answered {what}")
        return answer.document


@asynccontextmanager
async def open_client(
    address: str, merchant: CheckMerchant, *, tls: bool = False, connections: int = 10
) -> AsyncGenerator[CheckClient]:
    """Open a client for `host:port`. The certificate is not verified: the balancer's is for its
    public name, and this connection stays on its machine.
    """
    async with httpx.AsyncClient(
        base_url=f"{'https' if tls else 'http'}://{address}",
        headers={"Authorization": f"Bearer {merchant.api_key}"},
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=_WITHIN_S,
        trust_env=False,
        verify=False,  # noqa: S501 -- see above
    ) as http:
        yield CheckClient(http, address)
