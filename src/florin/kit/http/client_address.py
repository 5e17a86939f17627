"""Client address: who asks, where others stand between: X-Forwarded-For, believed of trusted hops
only.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from florin.kit.errors import InvalidRequest

_FORWARDED_MAX = 1024  # bytes, from the right: what is farther left was written by strangers
_SITE_BITS = 64  # of an IPv6 address: who has one address has all of these
_BLOCK_BITS = {4: 24, 6: 48}  # what one network is usually given; attackers rent several addresses

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """Knows which hops are ours: those in the `trusted` networks."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(ip_network(each) for each in trusted)
        self._read = lru_cache(maxsize=4096)(self._client)

    def client_address(self, scope: Mapping[str, Any]) -> str:
        """The address of the client: the last one that a trusted hop did not write about itself."""
        peer: tuple[str, int] | None = scope.get("client")
        said = [value for key, value in scope["headers"] if key == b"x-forwarded-for"]
        return self._read(peer[0] if peer else "", b",".join(said)[-_FORWARDED_MAX:])

    def _client(self, peer: str, forwarded: bytes) -> str:
        found = _address(peer)
        if found is None:
            return "unknown"
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            if not any(found in network for network in self._trusted):
                break
            before = _address(hop)
            if before is None:
                break  # the trusted hop knows nothing of whom it asks for
            found = before
        return str(found)


def client_network(address: str) -> str:
    """What is counted as one client: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ip_network((address, _SITE_BITS), strict=False))


def block(address: str) -> str:
    """The network around an address, within which one client may have many: /24, /48 of IPv6."""
    found = _address(address)
    if found is None:
        return address
    return str(ip_network((found, _BLOCK_BITS[found.version]), strict=False))


def is_loopback(address: str) -> bool:
    found = _address(address)
    return found is not None and found.is_loopback


def named_address(text: str, *, header: str) -> str:
    """The address that a caller names, in its shortest form. Raises InvalidRequest."""
    try:
        found = ip_address(text.strip())
    except ValueError:
        detail = "this is no address: give one IPv4 or IPv6 address without a port"
        raise InvalidRequest(detail, param=header) from None
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found)))  # without a zone
    return str(found)


def _address(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
