"""Gateway directory: which gateways there are, and the one of a payment."""

from functools import cached_property
from uuid import UUID

from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.payments.gateway import Gateway, GatewayOff, GatewayUnavailable, PaymentRow
from florin.payments.gateways.test import TestGateway

PRODUCTION = "production"


class GatewayDirectory:
    """Finds gateways. One for each process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @cached_property
    def _test(self) -> TestGateway:
        pepper = self._settings.key_pepper.get_secret_value().encode()
        return TestGateway(self._database, pepper=pepper)

    @property
    def test_allowed(self) -> bool:
        """Whether the test gateway may be used: never in production."""
        return self._settings.env != PRODUCTION

    def require_test(self) -> None:
        """Raises GatewayOff in production."""
        if not self.test_allowed:
            raise GatewayOff("The test gateway is refused in production", param="gateway")

    async def choose(self, requested: str | None) -> tuple[str, UUID]:
        """The provider and gateway for a new payment. Raises GatewayOff."""
        del requested  # `test` is the only one
        self.require_test()
        return "test", ids.NONE

    async def gateway_of(self, payment: PaymentRow) -> Gateway:
        """The gateway of a payment. Raises GatewayUnavailable if it was disconnected."""
        return await self.gateway(payment.provider)

    async def gateway(self, provider: str) -> Gateway:
        """Raises GatewayUnavailable."""
        if provider == "test" and self.test_allowed:
            return self._test
        raise GatewayUnavailable(f"the gateway {provider} is not connected any more")
