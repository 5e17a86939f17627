"""Network limits: how many sign-ins, sign-ups and e-mail tokens one network may try.

Checked before a password is hashed: a hash costs a hundred times as much as a refusal. Counted by
address (IPv6: by /64) and by its network (/24; IPv6: /48), so that an attacker gains little by
renting more addresses, and users who share one address are not limited early.
"""

from dataclasses import dataclass

from florin.kit.http.client_address import block, client_network, is_loopback
from florin.kit.rate_limits.limiter import Limit, RateLimiter, Subject, rate_limit_refusal


@dataclass(frozen=True, slots=True)
class NetworkLimit:
    """The limits of one action: for an address and for its network."""

    address: Limit
    network: Limit

    def subjects(self, source: str) -> tuple[Subject, Subject]:
        return (self.address, client_network(source)), (self.network, block(source))


SIGN_INS = NetworkLimit(
    Limit("sign-in-address", 120, per_s=60), Limit("sign-in-network", 600, per_s=60)
)
SIGN_UPS = NetworkLimit(
    Limit("sign-up-address", 10, per_s=3600), Limit("sign-up-network", 30, per_s=3600)
)
WRONG_TOKENS = NetworkLimit(
    Limit("token-address", 30, per_s=600), Limit("token-network", 120, per_s=600)
)
# A sign-up with a taken e-mail address reveals a member; it counts this many times more.
TAKEN = 3
# Per e-mail token, per member, per merchant.
PASSWORDS_PER_TOKEN = Limit("token", 5, per_s=3600)
PASSWORDS_PER_MEMBER = Limit("password", 20, per_s=600)
PASSWORDS_PER_MERCHANT = Limit("member-password", 60, per_s=600)
TAKEN_PER_MERCHANT = Limit("member-taken", 10, per_s=3600)


class NetworkLimiter:
    """Counts actions by network. `source`: the address of a client. `spare_loopback`: do not count
    clients on this machine.
    """

    def __init__(self, limits: RateLimiter, *, spare_loopback: bool) -> None:
        self._limits = limits
        self._spare_loopback = spare_loopback

    async def take(self, limit: NetworkLimit, source: str) -> None:
        """Count one action. Raises RateLimited above the limit."""
        await self.check(limit, source)
        await self.count(limit, source)

    async def check(self, limit: NetworkLimit, source: str) -> None:
        """Raises RateLimited if the limit was exceeded before."""
        if not self._spared(source):
            self._refuse(limit, await self._limits.blocked(*limit.subjects(source)))

    async def count(self, limit: NetworkLimit, source: str, *, times: int = 1) -> None:
        """Count `times` actions. Raises RateLimited above the limit."""
        if not self._spared(source):
            self._refuse(limit, await self._limits.count(*limit.subjects(source), times=times))

    async def take_of(self, limit: Limit, subject: str) -> None:
        """Count one action of a named subject. Raises RateLimited above the limit."""
        await self._limits.acquire(limit, subject)

    def _spared(self, source: str) -> bool:
        return self._spare_loopback and is_loopback(source)

    def _refuse(self, limit: NetworkLimit, wait_s: int | None) -> None:
        if wait_s is not None:
            raise rate_limit_refusal(limit.address.kind, wait_s)
