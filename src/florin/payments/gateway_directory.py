"""Gateway directory: which gateways a merchant has, and the one of a payment.

The installation's own accounts come from the settings; what they receive belongs to the merchant of
the payment. A merchant's own accounts are rows with sealed secrets (`gateway_account`).
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.errors import NotFound
from florin.kit.postgres.database import Database, Row
from florin.kit.settings import Settings
from florin.payments.gateway import Gateway, GatewayOff, GatewayUnavailable, PaymentRow
from florin.payments.gateway_account import GatewaySecrets, unseal_secrets
from florin.payments.gateways.paypal import PayPalGateway
from florin.payments.gateways.stripe import StripeGateway
from florin.payments.gateways.test import TestGateway
from florin.payments.gateways.test_payments import Outcome

PRODUCTION = "production"
DEFAULT = "default"  # the installation's own account, in addresses of webhooks
KEPT_MAX = 200  # accounts of merchants whose connections a process keeps

_OWN = """
select provider, id, live from florin.gateway
where merchant = $1 and state = 'on' and ($2::uuid is null or id = $2)
  and ($3::text is null or provider = $3)
order by live desc, provider desc limit 1
"""
_ROW = """
select *, previous_until > clock_timestamp() as both_secrets from florin.gateway
where merchant = $1 and id = $2
"""
_BY_ID = """
select *, previous_until > clock_timestamp() as both_secrets from florin.gateway
where id = $1 and provider = $2
"""

AccountGateway = StripeGateway | PayPalGateway


@dataclass(frozen=True, slots=True)
class ConnectedGateway:
    """An account at a gateway. `id`: all zeros for the installation's own, which has no `owner`."""

    gateway: AccountGateway
    id: UUID
    owner: UUID | None


class GatewayDirectory:
    """Finds gateways. One for each process."""

    def __init__(self, settings: Settings, database: Database, sealer: Sealer) -> None:
        self._settings = settings
        self._database = database
        self._sealer = sealer
        self._kept: OrderedDict[tuple[UUID, bytes, bool], AccountGateway] = OrderedDict()

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

    async def decide_test_payment(self, token: str, outcome: Outcome) -> Row:
        """The buyer's choice on the test gateway's page: see TestPayments. Raises NotFound,
        GatewayOff.
        """
        self.require_test()
        return await self._test.payments.decide(token, outcome)

    async def choose(self, merchant: UUID, requested: str | None) -> tuple[str, UUID]:
        """The provider and gateway for a new payment: the requested one (`test`, `stripe`,
        `paypal`, `gtw_…`), else the merchant's own, else the installation's, else `test`.

        Raises GatewayOff.
        """
        if requested == "test":
            self.require_test()
            return "test", ids.NONE
        own = ids.parse_id("gtw", requested) if requested is not None else None
        provider = requested if own is None else None
        row = await self._database.one(_OWN, merchant, own, provider)
        if row is not None:
            await self.require_money(merchant, real_money=row["live"])
            return row["provider"], row["id"]
        installed = self._installed()
        provider = requested or next(iter(installed), None)
        if provider is None:
            self.require_test()
            return "test", ids.NONE
        if provider not in installed:
            raise GatewayOff(f"The gateway {provider[:40]} is not connected", param="gateway")
        await self.require_money(merchant, real_money=installed[provider].real_money)
        return provider, ids.NONE

    async def require_money(
        self, merchant: UUID, *, real_money: bool, param: str = "gateway"
    ) -> None:
        """A test merchant never takes real money; others take test money outside of production
        only. Raises GatewayOff.
        """
        row = await self._database.one("select test from florin.merchant where id = $1", merchant)
        is_test = row is not None and row["test"]
        if real_money and is_test:
            raise GatewayOff("This gateway is for real money", param=param)
        if not real_money and not is_test and not self.test_allowed:
            raise GatewayOff("This gateway is for test money", param=param)

    async def gateway_of(self, payment: PaymentRow) -> Gateway:
        """The gateway of a payment. Raises GatewayUnavailable if it was disconnected."""
        return await self.gateway(payment.merchant, payment.provider, payment.gateway)

    async def gateway(self, merchant: UUID, provider: str, gateway: UUID) -> Gateway:
        """Raises GatewayUnavailable. One that is off still serves the payments that it has."""
        if provider == "test" and self.test_allowed:
            return self._test
        if gateway != ids.NONE:
            row = await self._database.one(_ROW, merchant, gateway)
            if row is None:
                raise GatewayUnavailable(f"the gateway {provider} is not connected any more")
            return self.account(row)
        installed = self._installed().get(provider)
        if installed is None:
            raise GatewayUnavailable(f"the gateway {provider} is not connected any more")
        return installed

    def account(self, row: Row) -> AccountGateway:
        """The account of a row of `gateway` with `both_secrets`. Raises GatewayUnavailable."""
        key = (row["id"], row["sealed"], bool(row["both_secrets"]))
        if key not in self._kept:
            try:
                secrets = unseal_secrets(self._sealer, row)
            except UnsealFailed as error:
                raise GatewayUnavailable("its secrets were sealed with another key") from error
            self._kept[key] = self._connect(row, secrets)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _connect(self, row: Row, secrets: GatewaySecrets) -> AccountGateway:
        if row["provider"] == "paypal":
            return PayPalGateway(
                secrets.client_id,
                secrets.secret_key,
                webhook_id=secrets.webhook_secret or None,
                real_money=row["live"],
                url=self._settings.paypal_url,
            )
        previous = (secrets.webhook_secret_previous,) if row["both_secrets"] else ()
        return StripeGateway(
            secrets.secret_key,
            webhook_secrets=(secrets.webhook_secret, *previous),
            url=self._settings.stripe_url,
        )

    async def stripe_account(self, key: str) -> str:
        """Stripe's own name of the account of a key. Raises GatewayUnavailable."""
        account = StripeGateway(key, webhook_secrets=(), url=self._settings.stripe_url)
        try:
            return await account.check()
        finally:
            await account.close()

    async def hook(self, provider: str, name: str) -> ConnectedGateway:
        """The gateway that a webhook's address names: `default` or `gtw_…`. Without a secret, with
        which a webhook is verified, the address does not exist. Raises NotFound.
        """
        found = await self._named(provider, name)
        if found is None or not found.gateway.takes_webhooks:
            raise NotFound
        return found

    async def _named(self, provider: str, name: str) -> ConnectedGateway | None:
        if name == DEFAULT:
            return next(iter(self.installed(provider)), None)
        row = await self._database.one(_BY_ID, ids.parse_id("gtw", name) or ids.NONE, provider)
        if row is None:
            return None
        return ConnectedGateway(self.account(row), row["id"], row["merchant"])

    async def own(self, merchant: UUID, gateway: UUID) -> ConnectedGateway:
        """A merchant's own account. Raises NotFound, GatewayUnavailable."""
        row = await self._database.one(_ROW, merchant, gateway)
        if row is None:
            raise NotFound
        return ConnectedGateway(self.account(row), row["id"], row["merchant"])

    def installed(self, provider: str) -> list[ConnectedGateway]:
        """The installation's own account at a provider."""
        found = self._installed().get(provider)
        return [] if found is None else [ConnectedGateway(found, ids.NONE, None)]

    async def close(self) -> None:
        """Close the connections of all gateways, at the end of a command."""
        for each in (*self._installed().values(), *self._kept.values()):
            await each.close()
