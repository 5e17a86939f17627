"""Client address: only trusted proxies may name the client of a request."""

from typing import Any

import pytest

from florin.kit.errors import InvalidRequest
from florin.kit.http.client_address import TrustedProxies, client_network, named_address


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    return {
        "client": None if peer is None else (peer, 1234),
        "headers": [
            (b"host", b"x"),
            *((b"x-forwarded-for", value.encode("latin-1")) for value in forwarded),
        ],
    }


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # an untrusted peer may send anything
        ("10.0.0.2", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["198.51.100.1, 10.0.0.7"], "198.51.100.1"),
        ("10.0.0.2", ["10.0.0.9, 10.0.0.7"], "10.0.0.9"),
        ("10.0.0.2", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.2", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.2", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.2", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["198.51.100.1, rubbish\xff"], "10.0.0.2"),
        ("10.0.0.2", [""], "10.0.0.2"),
        ("10.0.0.2", ["9" * 5000 + ", 198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], "unknown"),
        ("unix:", [], "unknown"),
    ],
)
def test_the_last_hop_that_is_not_trusted_is_the_client(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert (
        TrustedProxies(("10.0.0.0/8", "::1/128")).client_address(scope(peer, *forwarded)) == client
    )
    assert TrustedProxies(()).client_address(scope("10.0.0.2", *forwarded)) == "10.0.0.2"


def test_an_ipv6_network_is_one_client() -> None:
    assert client_network("203.0.113.9") == "203.0.113.9"
    assert (
        client_network("2001:db8:1:2:3::1")
        == client_network("2001:db8:1:2::ffff")
        == "2001:db8:1:2::/64"
    )
    assert client_network("2001:db8:1:3::1") != client_network("2001:db8:1:2::1")
    assert client_network("unknown") == "unknown"


@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.7:80", None),
        ("203.0.113.07", None),
        ("3405803783", None),
        ("", None),
        ("[2001:db8::1]", None),
        ("shop.example", None),
    ],
)
def test_a_named_client_is_normalized_to_one_address(named: str, address: str | None) -> None:
    if address is not None:
        assert named_address(named, header="Florin-Client-Ip") == address
        return
    with pytest.raises(InvalidRequest) as refused:
        named_address(named, header="Florin-Client-Ip")
    assert refused.value.param == "Florin-Client-Ip"
