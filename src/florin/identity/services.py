"""Services: the resources that sign-in and account changes need, and the origin of a request."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from florin.identity.audit_log import AuditActor
from florin.identity.credentials.email_tokens import EmailTokens
from florin.identity.credentials.jwt import JwtTokens
from florin.identity.credentials.totp import TotpFactors
from florin.identity.network_limits import NetworkLimiter
from florin.kit.encryption import Sealer, keyed_hash
from florin.kit.http.client_address import TrustedProxies, client_network
from florin.kit.postgres.database import Database
from florin.kit.rate_limits.limiter import RateLimiter
from florin.kit.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOrigin:
    """The origin of a request. Program and network are stored as keyed hashes only."""

    request_id: str
    address: str
    network: str
    program: bytes
    place: bytes

    def audit_actor(self, merchant: UUID, actor: str) -> AuditActor:
        return AuditActor(merchant=merchant, actor=actor, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class IdentityServices:
    """The resources of sign-in: database, tokens, second factors and limits."""

    database: Database
    tokens: JwtTokens
    email_tokens: EmailTokens
    factors: TotpFactors
    proxies: TrustedProxies
    pepper: bytes
    limits: NetworkLimiter

    @staticmethod
    def of(
        settings: Settings, database: Database, sealer: Sealer, limits: RateLimiter
    ) -> "IdentityServices":
        peppers = tuple(each.encode() for each in settings.key_ring("key_pepper"))
        return IdentityServices(
            database=database,
            tokens=JwtTokens(settings),
            email_tokens=EmailTokens(sealer=sealer, peppers=peppers),
            factors=TotpFactors(sealer, peppers),
            proxies=TrustedProxies(settings.trusted_proxies),
            pepper=peppers[0],
            limits=NetworkLimiter(limits, spare_loopback=settings.env != "production"),
        )

    def client(self, request: Any) -> RequestOrigin:
        address = self.proxies.client_address(request.scope)
        network = client_network(address)
        program = request.headers.get("user-agent", "")
        return RequestOrigin(
            request_id=request.scope["request_id"],
            address=address,
            network=network,
            program=keyed_hash(self.pepper, b"program\0" + program.encode()),
            place=keyed_hash(self.pepper, b"place\0" + network.encode()),
        )
