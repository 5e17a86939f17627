"""Gateway directory: which gateways there are, and the one of a payment.

The installation's own accounts come from the settings. What they receive belongs to the merchant of
the payment.
"""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from florin.kit import ids
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.payments.gateway import Gateway, GatewayOff, GatewayUnavailable, PaymentRow
from florin.payments.gateways.paypal import PayPalGateway
from florin.payments.gateways.stripe import StripeGateway
from florin.payments.gateways.test import TestGateway

PRODUCTION = "production"
DEFAULT = "default"  # the installation's own account, in addresses of webhooks


AccountGateway = StripeGateway | PayPalGateway


@dataclass(frozen=True, slots=True)
class ConnectedGateway:
    """An account at a gateway. `id`: all zeros for the installation's own."""

    gateway: AccountGateway
    id: UUID


class GatewayDirectory:
    """Finds gateways. One for each process."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @cached_property
    def _test(self) -> TestGateway:
        pepper = self._settings.key_pepper.get_secret_value().encode()
        return TestGateway(self._database, pepper=pepper)

    @cached_property
    def _stripe(self) -> StripeGateway | None:
        """The installation's own account at Stripe."""
        key, secret = self._settings.stripe_secret_key, self._settings.stripe_webhook_secret
        if key is None:
            return None
        secrets = (secret.get_secret_value(),) if secret is not None else ()
        return StripeGateway(
            key.get_secret_value(), webhook_secrets=secrets, url=self._settings.stripe_url
        )

    @cached_property
    def _paypal(self) -> PayPalGateway | None:
        """The installation's own account at PayPal."""
        settings = self._settings
        if settings.paypal_client_id is None or settings.paypal_client_secret is None:
            return None
        return PayPalGateway(
            settings.paypal_client_id,
            settings.paypal_client_secret.get_secret_value(),
            webhook_id=settings.paypal_webhook_id,
            real_money=settings.paypal_mode == "live",
            url=settings.paypal_url,
        )

    def _installed(self) -> dict[str, AccountGateway]:
        """The installation's own gateways by provider, in the order of preference."""
        accounts = {"stripe": self._stripe, "paypal": self._paypal}
        return {name: account for name, account in accounts.items() if account is not None}

    @property
    def test_allowed(self) -> bool:
        """Whether the test gateway may be used: never in production."""
        return self._settings.env != PRODUCTION

    def require_test(self) -> None:
        """Raises GatewayOff in production."""
        if not self.test_allowed:
            raise GatewayOff("The test gateway is refused in production", param="gateway")

    async def choose(self, merchant: UUID, requested: str | None) -> tuple[str, UUID]:
        """The provider and gateway for a new payment: the requested one, else the installation's,
        else `test`. Raises GatewayOff.
        """
        if requested == "test":
            self.require_test()
            return "test", ids.NONE
        installed = self._installed()
        provider = requested or next(iter(installed), None)
        if provider is None:
            self.require_test()
            return "test", ids.NONE
        if provider not in installed:
            raise GatewayOff(f"The gateway {provider[:40]} is not connected", param="gateway")
        await self._require_money(merchant, real_money=installed[provider].real_money)
        return provider, ids.NONE

    async def _require_money(self, merchant: UUID, *, real_money: bool) -> None:
        """A test merchant never takes real money; others take test money outside of production
        only. Raises GatewayOff.
        """
        row = await self._database.one("select test from florin.merchant where id = $1", merchant)
        is_test = row is not None and row["test"]
        if real_money and is_test:
            raise GatewayOff("This gateway is for real money", param="gateway")
        if not real_money and not is_test and not self.test_allowed:
            raise GatewayOff("This gateway is for test money", param="gateway")

    async def gateway_of(self, payment: PaymentRow) -> Gateway:
        """The gateway of a payment. Raises GatewayUnavailable if it was disconnected."""
        return await self.gateway(payment.provider)

    async def gateway(self, provider: str) -> Gateway:
        """Raises GatewayUnavailable."""
        if provider == "test" and self.test_allowed:
            return self._test
        installed = self._installed().get(provider)
        if installed is None:
            raise GatewayUnavailable(f"the gateway {provider} is not connected any more")
        return installed

    async def hook(self, provider: str, name: str) -> ConnectedGateway:
        """The gateway that a webhook's address names: `default`. Without a secret, with which a
        webhook is verified, the address does not exist. Raises NotFound.
        """
        for each in await self.connected(provider):
            if name == DEFAULT and each.gateway.takes_webhooks:
                return each
        raise NotFound

    async def connected(self, provider: str) -> list[ConnectedGateway]:
        """The accounts at a provider."""
        found = self._installed().get(provider)
        return [] if found is None else [ConnectedGateway(found, ids.NONE)]
