"""Services: the resources of one API instance, created once and closed in order."""

from typing import Any
from uuid import UUID

from florin.cards.api.frequent_operations import FrequentOperations
from florin.cards.code_guessing import CodeGuessLimiter
from florin.cards.delivering import CardDeliveries
from florin.cards.imported_codes import ImportedCodes
from florin.cards.issuing import CardIssuer
from florin.cards.lookup import CardLookup
from florin.cards.transactions.operations import TransactionOperations
from florin.deliveries.card_links import CardLinks
from florin.deliveries.gauges import DeliveryGauges
from florin.events.stream import EVENTS_TOPIC, EventStreams
from florin.identity.authentication import Authenticator
from florin.identity.services import IdentityServices
from florin.kit.encryption import Sealer
from florin.kit.http.client_address import TrustedProxies
from florin.kit.http.drain import Drain
from florin.kit.observability import logging
from florin.kit.observability.process_metrics import ProcessMetrics
from florin.kit.postgres.database import Connection, Database
from florin.kit.postgres.log_position import PositionReader
from florin.kit.postgres.process_registry import ProcessRegistration
from florin.kit.postgres.role_check import OwnershipCheck
from florin.kit.queue.stats import QueueGauges
from florin.kit.rate_limits.limiter import Limit, RateLimiter
from florin.kit.replicas.consistency_tokens import ConsistencyTokens
from florin.kit.replicas.replica import Replica
from florin.kit.replicas.routing import ReplicaRouter
from florin.kit.replicas.signed_positions import PositionSigner
from florin.kit.server.health import HealthMonitor
from florin.kit.settings import Settings
from florin.kit.valkey import client as valkey
from florin.kit.valkey.notifications import Notifier
from florin.kit.valkey.shared_values import SharedValues
from florin.ledger.issue import IssuingLedger
from florin.ledger.post import Ledger
from florin.orders.services import OrderServices
from florin.payments.gauges import PaymentGauges
from florin.reports.activity import ActivityReports
from florin.reports.attention import AttentionReports
from florin.reports.cohorts import CohortReports
from florin.reports.ledger_check import LedgerCheck
from florin.reports.locations import LocationReports
from florin.reports.period_sums import SUMS_KEPT_S
from florin.reports.report_runner import ReportRunner
from florin.web.internal_api import InternalApi
from florin.web.operator import OperatorPage
from florin.web.public_pages import PublicPages
from florin.web.shared_pages import KEPT_S, SharedPages
from florin.web.sign_in_cookie import SignInCookie
from florin.web.visitors import Visitors
from florin.webhooks.gauges import WebhookGauges

_log = logging.get_logger()

# The attributes of ApiServices that a route may name as a parameter.
DEPENDENCIES = (
    "settings",
    "notifier",
    "drain",
    "event_streams",
    "sealer",
    "access",
    "identity",
    "reports",
    "ledger",
    "transactions",
    "cards",
    "card_links",
    "proxies",
    "operations",
    "lookups",
    "imported_codes",
    "activity",
    "attention",
    "cohorts",
    "location_reports",
    "internal_api",
    "public_pages",
    "operator_page",
    "visitors",
    "selling",
    "gateways",
)


class ApiServices:
    """The resources of an API instance: created once, passed in, opened and closed in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.primary_url, name=f"florin {settings.instance}")
        self.valkey = self._connect_valkey()
        self.routing = self._routing()
        self.position = PositionReader(self.database)
        self.signer = PositionSigner(settings.key_ring("key_pepper"))
        pepper = settings.code_pepper.get_secret_value()
        self.sealer = sealer = Sealer(*settings.key_ring("seal_key"))
        self.notifier = Notifier(self.valkey)
        name = f"florin {settings.instance}"
        self.reports = ReportRunner(settings.primary_url, name=name)
        sums = self._shared("sums", SUMS_KEPT_S)
        self.activity = ActivityReports(self.reports.database, sums)
        self.attention = AttentionReports(self.reports.database)
        self.cohorts = CohortReports(self.reports, sums)
        self.location_reports = LocationReports(self.reports.database, sums)
        self.queues = QueueGauges(self.reports.database)
        self.webhooks = WebhookGauges(self.reports.database)
        self.deliveries_due = DeliveryGauges(self.reports.database)
        self.payments = PaymentGauges(self.reports.database)
        self.ledger_check = LedgerCheck(self.database, self.reports.database, name=name)
        self.happened = Notifier(self.valkey, EVENTS_TOPIC)
        self.ledger = Ledger(self.database, self._notify_streams)
        self.issuer = IssuingLedger(self.database, self._notify_streams)
        self.access = Authenticator(self.database, settings)
        self.limits = self._rate_limiter()
        self.identity = IdentityServices.of(settings, self.database, sealer, self.limits)
        self.internal_api = InternalApi()
        self.public_pages = PublicPages(SharedPages(self._shared("page", KEPT_S), settings.release))
        self.operator_page = OperatorPage(settings.operator_url)
        self.visitors = Visitors(self.access, self.identity, SignInCookie(sealer, settings))
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.guesses = CodeGuessLimiter(self.limits, settings)
        self.imported_codes = ImportedCodes(self.database)
        self.requests = Limit("requests", settings.requests_per_minute, 60)
        self.transactions = TransactionOperations(
            self.ledger,
            self.database,
            settings.key_ring("code_pepper"),
            self.guesses,
            self.imported_codes,
        )
        self.card_links = CardLinks(
            seal_keys=settings.key_ring("seal_key"), peppers=settings.key_ring("key_pepper")
        )
        deliveries = CardDeliveries.of(settings, self.card_links, sealer)
        self.cards = CardIssuer(self.issuer, self.database, pepper, sealer, deliveries)
        self.lookups = CardLookup(
            self.database, settings.key_ring("code_pepper"), self.guesses, self.imported_codes
        )
        self.operations = FrequentOperations(self.transactions, self.lookups, self.proxies)
        self.selling = OrderServices.of(settings, self.database, sealer)
        self.gateways = self.selling.gateways
        self.drain = Drain(least_s=settings.drain_s, most_s=settings.drain_max_s)
        self.event_streams = EventStreams(self.database, self.happened, self.access)
        self._ownership = OwnershipCheck(settings)
        self._registration = ProcessRegistration(name=settings.instance, release=settings.release)
        self.health = self._health_monitor()
        self.process = ProcessMetrics(settings.release)

    def _connect_valkey(self) -> Any:
        url = self.settings.redis_url
        return valkey.connect_valkey(url.get_secret_value()) if url else None

    def _shared(self, use: str, kept_s: int) -> SharedValues:
        return SharedValues(self.valkey, self.settings.key_ring("seal_key"), use=use, kept_s=kept_s)

    def _rate_limiter(self) -> RateLimiter:
        return RateLimiter(
            self.valkey,
            shares=self.settings.limit_shares if self.valkey is not None else 1,
            patience_s=self.settings.limit_patience_ms / 1000,
        )

    def _health_monitor(self) -> HealthMonitor:
        return HealthMonitor(
            drain=self.drain,
            dsn=self.database.limits.dsn,
            ping=self.valkey.ping if self.valkey is not None else None,
            release=self.settings.release,
            instance=self.settings.instance,
            first=self._check_database,
            last=self._registration.leave,
        )

    async def _check_database(self, connection: Connection) -> None:
        await self._ownership.check(connection)
        await self._registration.check(connection)

    def _notify_streams(self, merchants: set[UUID]) -> None:
        self.happened.notify(each.bytes for each in merchants)

    def _routing(self) -> ReplicaRouter:
        name = f"florin {self.settings.instance} reads"
        replicas = [
            Replica(url, name=name, server=f"replica-{n}")
            for n, url in enumerate(self.settings.replica_urls, 1)
        ]
        if replicas and self.valkey is None:
            _log.warning("replicas are not read: REDIS_URL is not set")
        tokens = (
            ConsistencyTokens(self.valkey, self.database.position)
            if self.valkey is not None
            else None
        )
        return ReplicaRouter(self.database, replicas, tokens)

    async def open(self) -> None:
        await self.database.open()
        await self.reports.open()
        await self.routing.open()
        self.happened.start()
        self.health.start()
        self.ledger_check.start()
        self.process.start()

    async def close(self) -> None:
        await self.ledger.settle()
        await self.issuer.settle()
        await self.selling.finish()
        await self.health.stop()
        await self.process.stop()
        await self.ledger_check.stop()
        await self.happened.stop()
        await self.routing.close()
        await self.operator_page.close()
        await self.reports.close()
        await self.database.close()
        if self.valkey is not None:
            await self.valkey.aclose()
