"""Network rules: what production must not send to, or trust from, other hosts."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from urllib.parse import parse_qsl

from florin.kit.settings.variable import is_local, urls_of
from florin.kit.urls import split_url

DATABASES = ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_REPLICA", "DATABASE_URL_OWNER")
# The widest private networks are fc00::/7 and 10.0.0.0/8; a wider one cannot be that of balancers.
_NARROWEST = {4: 8, 6: 7}
_PLAIN = ("disable", "allow")  # `allow` uses TLS only if the server requires it


def open_proxies(given: Mapping[str, str]) -> Iterator[str]:
    """Networks so wide that clients could forge the address that rate limits count."""
    for word in given.get("FLORIN_TRUSTED_PROXIES", "").split(","):
        try:
            network = ip_network(word.strip())
        except ValueError:
            continue  # reported by the variable itself
        if network.prefixlen < _NARROWEST[network.version]:
            yield (
                f"FLORIN_TRUSTED_PROXIES: {network} is too wide; list only the networks of your"
                " balancers"
            )


def plain_redis(given: Mapping[str, str]) -> Iterator[str]:
    url = given.get("REDIS_URL", "")
    host = _elsewhere(url)
    if host is None:
        return
    if not _password(url):
        yield f"REDIS_URL: has no password, and {host} is another host"
    if split_url(url).scheme.partition("+")[0] not in {"rediss", "valkeys"}:
        yield f"REDIS_URL: is without TLS, and {host} is another host; begin it with rediss"
    elif _query(url).get("ssl_cert_reqs") == "none":
        yield f"REDIS_URL: has ssl_cert_reqs=none, so the certificate of {host} is not verified"


def plain_databases(given: Mapping[str, str]) -> Iterator[str]:
    for name in DATABASES:
        for url in urls_of(given.get(name, "")):
            mode, host = _query(url).get("sslmode"), _elsewhere(url)
            if host is not None and mode in _PLAIN:
                yield (
                    f"{name}: has sslmode={mode}, and {host} is another host; sslmode=verify-full"
                    " verifies the server"
                )


def _elsewhere(url: str) -> str | None:
    """The first host of a URL that is not this machine."""
    try:
        parts = split_url(url)
    except ValueError:
        return None  # reported by the variable itself
    if parts.scheme == "unix":
        return None
    hosts = parts.netloc.rpartition("@")[2].split(",")
    hosts += [
        value for each in ("host", "hostaddr") for value in _query(url).get(each, "").split(",")
    ]
    return next((host for host in map(_bare, hosts) if host and not is_local(host)), None)


def _bare(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.startswith("/") else host.partition(":")[0]


def _password(url: str) -> str | None:
    return split_url(url).netloc.rpartition("@")[0].partition(":")[2] or None


def _query(url: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(split_url(url).query))
    except ValueError:
        return {}
