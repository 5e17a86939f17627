"""Client address: the client behind proxies, from the X-Forwarded-For of trusted proxies only."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from florin.kit.errors import InvalidRequest

_FORWARDED_MAX = 1024  # bytes, from the right: anything farther left is written by clients
_SITE_BITS = 64  # of an IPv6 address: one client usually controls a whole /64
_BLOCK_BITS = {4: 24, 6: 48}  # usual size of a customer's network; attackers rent several addresses

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies in the `trusted` networks, whose X-Forwarded-For is used."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(ip_network(each) for each in trusted)
        self._read = lru_cache(maxsize=4096)(self._client)

    def client_address(self, scope: Mapping[str, Any]) -> str:
        """The address of the client: the rightmost one that is not a trusted proxy's."""
        peer: tuple[str, int] | None = scope.get("client")
        forwarded = [value for key, value in scope["headers"] if key == b"x-forwarded-for"]
        return self._read(peer[0] if peer else "", b",".join(forwarded)[-_FORWARDED_MAX:])

    def _client(self, peer: str, forwarded: bytes) -> str:
        client = _address(peer)
        if client is None:
            return "unknown"
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            if not any(client in network for network in self._trusted):
                break
            previous = _address(hop)
            if previous is None:
                break  # the trusted proxy did not name its client
            client = previous
        return str(client)


def client_network(address: str) -> str:
    """What rate limits count as one client: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ip_network((address, _SITE_BITS), strict=False))


def block(address: str) -> str:
    """The network (/24, /48 of IPv6) around an address, in which a client may have many."""
    parsed = _address(address)
    if parsed is None:
        return address
    return str(ip_network((parsed, _BLOCK_BITS[parsed.version]), strict=False))


def is_loopback(address: str) -> bool:
    parsed = _address(address)
    return parsed is not None and parsed.is_loopback


def named_address(text: str, *, header: str) -> str:
    """The address in a header of the caller, in its shortest form. Raises InvalidRequest."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        detail = f"{header} must be one IPv4 or IPv6 address without a port"
        raise InvalidRequest(detail, param=header) from None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address)))  # without a zone
    return str(address)


def _address(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
