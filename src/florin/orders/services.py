"""Services: what selling needs, made once for a process."""

from dataclasses import dataclass

from florin.cards.delivering import CardDeliveries
from florin.deliveries.card_links import CardLinks
from florin.kit.encryption import Sealer
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings
from florin.orders.checkout import Checkout
from florin.orders.fulfilment import CardFulfilment
from florin.orders.looking import PaymentLooker
from florin.orders.settlement import Settlement
from florin.payments.gateway_directory import GatewayDirectory


@dataclass(frozen=True, slots=True)
class OrderServices:
    """Placing orders, looking at their payments, settling them."""

    gateways: GatewayDirectory
    links: CardLinks
    checkout: Checkout
    settlement: Settlement
    fulfilment: CardFulfilment
    looker: PaymentLooker

    @staticmethod
    def of(settings: Settings, database: Database, sealer: Sealer) -> "OrderServices":
        gateways = GatewayDirectory(settings, database, sealer)
        checkout = Checkout(database, gateways, sealer, sms=settings.sends_sms)
        pepper = settings.code_pepper.get_secret_value()
        links = CardLinks(
            seal_keys=settings.key_ring("seal_key"), peppers=settings.key_ring("key_pepper")
        )
        deliveries = CardDeliveries.of(settings, links, sealer)
        fulfilment = CardFulfilment(pepper, sealer, deliveries)
        settlement = Settlement(database, fulfilment)
        return OrderServices(
            gateways=gateways,
            links=links,
            checkout=checkout,
            settlement=settlement,
            fulfilment=fulfilment,
            looker=PaymentLooker(database, sealer, gateways, checkout, settlement),
        )

    async def finish(self) -> None:
        """Wait until nothing is being placed or settled."""
        await self.checkout.finish()
        await self.settlement.batches.finish()
