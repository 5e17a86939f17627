"""PayPal connection: PayPal's REST API with its access tokens, repetitions and refusals."""

import asyncio
import time
from typing import Any

import httpx

from florin.payments.gateway import GatewayRefused, GatewayUnavailable
from florin.payments.gateway_requests import count_gateway_request
from florin.payments.gateways.paypal_objects import Json

TIMEOUT_S = 20
ATTEMPTS = 3
_EARLY_S = 60  # a token is renewed before it ends
_LACKS_FUNDS = (
    "REFUND_FAILED_INSUFFICIENT_FUNDS"  # of the account now: a later refund is not refused
)
_OK, _UNAUTHORIZED, _BUSY = 200, 401, {409, 429}


class PayPalConnection:
    """Asks PayPal as one client."""

    def __init__(self, client_id: str, secret: str, url: str) -> None:
        self._client_id, self._secret = client_id, secret
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S)
        self._token, self._token_until = "", 0.0
        self._token_lock = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def authenticate(self) -> None:
        """Ask for a new access token. Raises GatewayUnavailable."""
        self._token_until = 0.0
        with count_gateway_request("paypal"):
            await self._bearer()

    async def _bearer(self) -> str:
        async with self._token_lock:
            if time.monotonic() > self._token_until:
                answer = await self._send(
                    "POST",
                    "/v1/oauth2/token",
                    auth=(self._client_id, self._secret),
                    data={"grant_type": "client_credentials"},
                )
                if answer.status_code != _OK:
                    raise GatewayUnavailable("PayPal does not accept the client id and secret")
                granted = answer.json()
                self._token = granted["access_token"]
                self._token_until = time.monotonic() + granted["expires_in"] - _EARLY_S
            return self._token

    async def read(self, path: str, **more: Any) -> Json:
        """Ask without changing anything. Raises GatewayUnavailable."""
        try:
            return await self.ask("GET", path, **more)
        except GatewayRefused as error:
            raise GatewayUnavailable(str(error)) from error

    async def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> Json:
        """Ask PayPal. Raises GatewayUnavailable, GatewayRefused with the issue it names."""
        with count_gateway_request("paypal"):
            return await self._ask(method, path, key, **more)

    async def _ask(self, method: str, path: str, key: str | None, **more: Any) -> Json:
        headers = {
            "authorization": f"Bearer {await self._bearer()}",
            "content-type": "application/json",
            "prefer": "return=representation",
            **({"paypal-request-id": key} if key is not None else {}),
        }
        answer = await self._send(method, path, headers=headers, **more)
        if answer.status_code == _UNAUTHORIZED:
            self._token_until = 0.0
            raise GatewayUnavailable("PayPal does not accept the access token")
        try:
            found: Json = answer.json() if answer.content else {}
        except ValueError as error:
            raise GatewayUnavailable("PayPal's answer is no JSON") from error
        if answer.is_success:
            return found
        issue = next((str(each["issue"]) for each in found.get("details") or ()), found.get("name"))
        text = f"{issue}: {found.get('message', '')}"[:500]
        if answer.status_code in _BUSY or answer.is_server_error or issue == _LACKS_FUNDS:
            raise GatewayUnavailable(text)
        raise GatewayRefused(text)

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send; repeat after a broken connection or a server error, with the same key."""
        for attempt in range(ATTEMPTS):
            try:
                answer = await self._http.request(method, path, **more)
            except httpx.HTTPError as error:
                if attempt == ATTEMPTS - 1:
                    raise GatewayUnavailable(type(error).__name__) from error
            else:
                if not answer.is_server_error or attempt == ATTEMPTS - 1:
                    return answer
            await asyncio.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")
