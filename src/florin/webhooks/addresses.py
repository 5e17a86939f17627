"""Addresses: where webhooks may be sent. Checked at registration and again at each connection.

A name is resolved once for a connection, every address is checked, and the connection goes to a
checked address, so that a name cannot resolve to another one in between (DNS rebinding).
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna

from florin.kit.errors import Refusal

URL_MAX = 2000
_HOST_MAX = 253
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
RESOLVE_WITHIN_S = 3.0

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# In addition to what `ipaddress` knows as not global (IANA's registries of special addresses).
_BLOCKED: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a metadata service
        "168.63.129.16/32",  # the platform address of Azure: public, and reaches the host
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64: reaches the IPv4 address within
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo, ORCHID and others
        "2002::/16",  # 6to4
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
    )
)
_LOCAL_NAMES = (".localhost", ".local", ".localdomain", ".internal", ".home.arpa", ".lan")
_LOOPBACK = ("127.0.0.0/8", "::1/128")


class UrlNotAllowed(Refusal):
    """Webhooks cannot be sent to this URL."""

    code = "url_not_allowed"
    status = 422


class AddressRefused(Exception):
    """A connection that was not opened; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """`allowed`: internal networks that are allowed nevertheless. `plain_http`: TLS is optional."""

    allowed: tuple[_Network, ...] = ()
    plain_http: bool = False

    @classmethod
    def of(cls, env: str, allow: Sequence[str] | None) -> "AddressRules":
        """The rules of an installation: `allow` is FLORIN_WEBHOOK_ALLOW."""
        networks = _LOOPBACK if allow is None and env == "development" else (allow or ())
        return cls(
            allowed=tuple(ipaddress.ip_network(each) for each in networks),
            plain_http=env != "production",
        )

    def reason_against(self, address: IpAddress) -> str | None:
        """Why nothing may be sent to an address; None if it may."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return self.reason_against(address.ipv4_mapped)
        if any(address in network for network in self.allowed):
            return None
        blocked = any(address in network for network in _BLOCKED)
        if blocked or not address.is_global or address.is_multicast:
            return f"{address} is an internal address"
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was parsed: `url` in its canonical form."""

    url: str
    host: str
    port: int


def parse_target(url: str, rules: AddressRules) -> Target:
    """Parse the URL of an endpoint, without a look-up. Raises UrlNotAllowed."""
    if not url.isprintable() or any(each in url for each in ' \\"<>') or len(url) > URL_MAX:
        raise _refused("has characters that are not allowed in a URL, or is too long")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused("is not a URL; give one such as https://example.com/florin") from None
    if parts.scheme not in {"https", "http"} or not host:
        raise _refused("must begin with https:// and name a host")
    if parts.scheme == "http" and not rules.plain_http:
        raise _refused("must begin with https://; plain http is for development only")
    if "@" in parts.netloc or "#" in url:
        raise _refused("must not have a user, a password or a fragment")
    if "%" in parts.netloc or port == 0:
        raise _refused("has an invalid host or port")
    host = _canonical_host(host, rules)
    shown = f"[{host}]" if ":" in host else host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise _refused("has characters that must be written as %XX")
    where = f"{shown}:{port}" if port is not None else shown
    return Target(
        f"{parts.scheme}://{where}{path}",
        host,
        port or (443 if parts.scheme == "https" else 80),
    )


def _canonical_host(host: str, rules: AddressRules) -> str:
    """A host in ASCII. An IP address must be written in its usual form and be allowed."""
    address = _literal(host)
    if address is None:
        host = host.rstrip(".")
        with contextlib.suppress(idna.IDNAError, UnicodeError):
            host = idna.encode(host, uts46=True).decode()  # also digits of other scripts
        if len(host) > _HOST_MAX or not _HOST.fullmatch(host):
            raise _refused("has an invalid host name")
        address = _literal(host)
    if address is None:
        with contextlib.suppress(OSError):  # 2130706433, 0177.0.0.1, 0x7f.1, 127.1
            socket.inet_aton(host)
            raise _refused(f"has the IP address {host[:60]} in an unusual form")
        return host
    if reason := rules.reason_against(address):
        raise _refused(f"{reason}; FLORIN_WEBHOOK_ALLOW can allow its network")
    return str(address)


def _refused(reason: str) -> UrlNotAllowed:
    return UrlNotAllowed(f"The URL {reason}", param="url")


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


async def resolve_host(
    host: str, port: int, rules: AddressRules, executor: Executor | None
) -> list[str]:
    """The checked addresses of a host. Raises AddressRefused, OSError, TimeoutError."""
    literal = _literal(host)
    if literal is not None:
        found = [literal]
    else:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_WITHIN_S):
            rows = await loop.run_in_executor(executor, look_up_host, host, port)
        found = list(dict.fromkeys(ipaddress.ip_address(row.partition("%")[0]) for row in rows))
    for address in found:
        if reason := rules.reason_against(address):
            raise AddressRefused(f"{host}: {reason}" if literal is None else reason)
    return [str(address) for address in found]


def look_up_host(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


async def require_url_allowed(url: str, rules: AddressRules) -> str:
    """Check the URL of a new endpoint and return it in its canonical form. A name that does not
    resolve now may do so later, unless it can only be internal. Raises UrlNotAllowed.
    """
    target = parse_target(url, rules)
    try:
        await resolve_host(target.host, target.port, rules, None)
    except AddressRefused as refused:
        raise _refused(f"is not allowed: {refused}") from None
    except (OSError, TimeoutError, UnicodeError):
        if "." not in target.host or f".{target.host}".endswith(_LOCAL_NAMES):
            raise _refused(f"has the host {target.host}, which is internal") from None
    return target.url
