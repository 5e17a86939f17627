"""People: what signing in and changing accounts needs: keys, and where a request comes from."""

import ipaddress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from florin.kit.db import Database
from florin.kit.seal import Sealer, keyed_hash
from florin.kit.settings import Settings
from florin.merchants.audit import By
from florin.merchants.factor import Factors
from florin.merchants.letter import Letters
from florin.merchants.token import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where a request comes from. Of program and network only keyed hashes are kept."""

    request_id: str
    network: str
    program: bytes
    place: bytes

    def by(self, merchant: UUID, actor: str) -> By:
        return By(merchant=merchant, actor=actor, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class People:
    """The parts over which people sign in."""

    database: Database
    tokens: Tokens
    letters: Letters
    factors: Factors
    pepper: bytes

    @staticmethod
    def of(settings: Settings, database: Database, sealer: Sealer) -> "People":
        peppers = tuple(each.encode() for each in settings.ring("key_pepper"))
        return People(
            database=database,
            tokens=Tokens(settings),
            letters=Letters(sealer=sealer, peppers=peppers),
            factors=Factors(sealer, peppers),
            pepper=peppers[0],
        )

    def client(self, request: Any) -> Client:
        network = _network(request.scope["client"][0] if request.scope.get("client") else "")
        program = request.headers.get("user-agent", "")
        return Client(
            request_id=request.scope["request_id"],
            network=network,
            program=keyed_hash(self.pepper, b"program\0" + program.encode()),
            place=keyed_hash(self.pepper, b"place\0" + network.encode()),
        )


def _network(address: str) -> str:
    """An address of IPv4, of IPv6 the /64 that one subscriber has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
