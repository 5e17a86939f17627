"""Gateway requests: counts what gateways are asked, and what becomes of payments."""

from collections.abc import Generator
from contextlib import contextmanager

from florin.kit.observability import metrics
from florin.payments.gateway import GatewayRefused, GatewayUnavailable, PaymentState

# An event of Stripe about a card that was declined: the session stays open for another one, so the
# payment does not fail. A test of stolen cards shows here.
DECLINED_EVENT = "payment_intent.payment_failed"
_COUNTED = ("paid", "failed")

for _provider in ("stripe", "paypal"):  # all series from the start
    for _outcome in ("answered", "refused", "unavailable"):
        metrics.gateway_requests.labels(_provider, _outcome)
for _provider in ("stripe", "paypal", "test"):
    for _outcome in _COUNTED:
        metrics.payment_attempts.labels(_provider, _outcome)


@contextmanager
def count_gateway_request(provider: str) -> Generator[None]:
    """Count the request that is made inside."""
    outcome = "answered"
    try:
        yield
    except GatewayUnavailable:
        outcome = "unavailable"
        raise
    except GatewayRefused:
        outcome = "refused"
        raise
    finally:
        metrics.gateway_requests.labels(provider, outcome).inc()


def count_payment_attempt(provider: str, state: PaymentState) -> None:
    """Count an attempt to pay that has ended; call it after the commit."""
    if state in _COUNTED:
        metrics.payment_attempts.labels(provider, state).inc()
