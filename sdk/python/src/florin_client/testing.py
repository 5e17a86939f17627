"""Testing: for the tests of programs that use Florin; nothing here is for production.

`make_test_merchant` registers a merchant with a test clock at an installation that is open for it
(development or test), `advance` moves its time, `LosingTransport` loses answers, and
`signed_webhook` makes the message that an endpoint would receive.
"""

import base64
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import httpx
import msgspec

from florin_client.client import Florin
from florin_client.nouns import Job, Program
from florin_client.webhooks import sign_message


@dataclass(frozen=True, slots=True)
class MerchantUnderTest:
    """A new merchant with one program of 1.00 to 1 000.00, and a client of its owner."""

    florin: Florin
    program: Program
    email: str
    password: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.florin.close()


def make_test_merchant(
    url: str, *, currency: str = "EUR", country: str = "DE"
) -> MerchantUnderTest:
    """Register a merchant with a test clock. Raises ApiError, such as where sign-up is closed."""
    florin = Florin(url)
    email, password = f"owner.{secrets.token_hex(6)}@shop.example", secrets.token_urlsafe(16)
    merchant = {"name": "Test shop", "country": country, "currency": currency, "test": True}
    try:
        florin.token = florin.register_merchant(email, password, merchant).access_token
        program = florin.create_program("Gift card", currency, 100, 100_000)
    except BaseException:
        florin.close()
        raise
    return MerchantUnderTest(florin, program, email, password)


def advance(florin: Florin, to: datetime, *, timeout_s: float = 300) -> Job:
    """Move the test clock; return once everything due until then has happened. Raises JobFailed."""
    return florin.wait_for_job(florin.advance_test_clock(to=to).id, timeout_s=timeout_s)


class LosingTransport(httpx.BaseTransport):
    """Sends requests on and loses the first `count` answers, as a broken connection does:
    `Florin(url, key, http=httpx.Client(transport=LosingTransport(1)))`.
    """

    def __init__(self, count: int, transport: httpx.BaseTransport | None = None) -> None:
        self.remaining = count
        self._transport = transport or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._transport.handle_request(request)
        if self.remaining > 0:
            self.remaining -= 1
            response.read()
            response.close()
            raise httpx.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._transport.close()


def new_webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_webhook(
    event: Mapping[str, Any], secret: str, *, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a message with this event, as Florin sends them."""
    body = msgspec.json.encode(event)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    timestamp = str(int(time.time() if at is None else at))
    signature = sign_message(key, str(event["id"]), timestamp, body)
    headers = {
        "content-type": "application/json",
        "webhook-id": str(event["id"]),
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    return body, headers
