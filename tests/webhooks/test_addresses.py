# ruff: noqa: RUF001, S104 -- spellings of addresses
"""Addresses: no connection reaches an internal address, by any spelling, name, or rebinding."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from florin.kit.errors import Refusal
from florin.webhooks import addresses
from florin.webhooks.addresses import (
    AddressRules,
    UrlNotAllowed,
    parse_target,
    require_url_allowed,
)
from florin.webhooks.http_client import EndpointClient, GuardedNetwork, make_tls_context
from tests.support.receivers.webhook_receiver import OK, status, webhook_receiver
from tests.support.stream_server import stop_listening

STRICT = AddressRules(plain_http=True)
LOOPBACK = AddressRules.of("development", None)

INTERNAL_V4 = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.254", "127.0.0.1", "127.1.2.3", "127.255.255.254", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.254", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.254", "198.18.0.1",
    "198.19.255.254", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
INTERNAL_V6 = [
    "::", "::1", "::127.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2001:10::1",
    "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "3fff::1", "5f00::1", "fc00::1",
    "fd00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip


def forms(address: str) -> list[str]:
    """Spellings of an IPv4 address that resolvers accept."""
    a, b, c, d = (int(each) for each in address.split("."))
    whole = a << 24 | b << 16 | c << 8 | d
    return [
        str(whole),
        hex(whole),
        f"0{whole:o}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"{a}.{b}.{c << 8 | d}",
        f"{a}.{b << 16 | c << 8 | d}",
        f"[::ffff:{address}]",
        f"[::ffff:{whole >> 16:x}:{whole & 0xFFFF:x}]",
    ]


NAMES = [
    "localhost", "localhost.", "LOCALHOST", "ip6-localhost", "a.localhost",
    "metadata.google.internal",
    "metadata", "instance-data.ec2.internal", "kubernetes.default.svc", "redis", "postgres.local",
    "printer.lan", "router.home.arpa", "rebind.example", "10.0.0.1.example", "cname.example",
]  # fmt: skip
SPOKEN = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.16.0.1", "0.0.0.0"]
STRANGE = [
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "ftp://127.0.0.1/", "dict://127.0.0.1/",
    "http://user@127.0.0.1/", "http://example.com@127.0.0.1/", "http://127.0.0.1#@example.com/",
    "http://example.com\\@127.0.0.1/", "http://127.0.0.1%2f@example.com/", "http://[fe80::1%25lo]/",
    "http://%31%32%37.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://１２７.0.0.1/",
    "http:///127.0.0.1/", "http:127.0.0.1", "//127.0.0.1/", "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/", "http://127.0.0.1 /", "http://127.0.0.1\t/", "http://127.0.0.1\r\nx/",
    "http://[::1", "http://]/", "http://.127.0.0.1/", "http://127.0.0.1./", "http://127.1/",
    "http://0/", "http://0x7f.1/", "http://017700000001/", "javascript:alert(1)", "http://",
]  # fmt: skip


def corpus(port: int) -> list[str]:
    urls = [f"http://{host}:{port}/" for host in INTERNAL_V4]
    urls += [f"https://{host}/" for host in INTERNAL_V4]
    urls += [f"http://[{host}]:{port}/" for host in INTERNAL_V6]
    urls += [f"https://[{host}]/" for host in INTERNAL_V6]
    urls += [f"http://{form}:{port}/" for each in SPOKEN for form in forms(each)]
    urls += [f"http://{name}:{port}/" for name in NAMES]
    return urls + STRANGE


@asynccontextmanager
async def sniffer() -> AsyncGenerator[tuple[int, list[Any]]]:
    """A server on every local address that counts connections."""
    seen: list[Any] = []

    async def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("sockname"))
        writer.close()

    servers = [await asyncio.start_server(count, "0.0.0.0", 0)]
    port: int = servers[0].sockets[0].getsockname()[1]
    if socket.has_ipv6:
        servers.append(await asyncio.start_server(count, "::1", port))
    try:
        yield port, seen
    finally:
        for server in servers:
            await stop_listening(server)


def resolves(names: dict[str, list[str]]) -> Any:
    """A resolver that knows these names, and all spellings of IP addresses."""
    system = addresses.look_up_host

    def look_up(host: str, port: int) -> list[str]:
        return names.get(host.rstrip(".").lower()) or system(host, port)

    return look_up


@asynccontextmanager
async def client(url: str, rules: AddressRules = LOOPBACK) -> AsyncGenerator[EndpointClient]:
    made = EndpointClient(GuardedNetwork(rules, None), make_tls_context(), url, 1)
    try:
        yield made
    finally:
        await made.close()


class Opened:
    """The network below the guard: records every address that a connection was opened to."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def open(self, address: str, *_more: Any) -> Any:
        self.addresses.append(address)
        raise ConnectionError("recorded")


async def test_no_url_of_the_corpus_is_accepted_or_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {name.rstrip(".").lower(): ["93.184.216.34", "127.0.0.1"] for name in NAMES}
    monkeypatch.setattr(addresses, "look_up_host", resolves(names))
    opened = Opened()
    network = GuardedNetwork(STRICT, None)
    monkeypatch.setattr(network, "_open", opened.open)
    context = make_tls_context()
    async with sniffer() as (port, seen):
        urls = corpus(port)
        assert len(set(urls)) >= 200
        for url in urls:
            with pytest.raises(Refusal) as refused:
                await require_url_allowed(url, STRICT)
            assert refused.value.code == "url_not_allowed", url
            await _attempt(network, context, url)
        assert (seen, opened.addresses) == ([], [])
        # The same server is reached where its network is allowed: the corpus is not refused for
        # another reason.
        async with client(f"http://127.0.0.1:{port}/") as reaching:
            await reaching.post([], b"{}")
        assert len(seen) == 1


@pytest.mark.parametrize("form", forms("93.184.216.34")[:7])
def test_an_unusual_form_is_refused_without_a_look_up(form: str) -> None:
    """Also of a public address: what a resolver makes of it depends on the resolver."""
    with pytest.raises(UrlNotAllowed, match="in an unusual form"):
        parse_target(f"https://{form}/", STRICT)


async def _attempt(network: GuardedNetwork, context: Any, url: str) -> None:
    """Connect past the registration: its check is not the only one."""
    try:
        client = EndpointClient(network, context, url, 1)
    except ValueError:
        return  # not a URL of the client
    attempt = await client.post([], b"{}")
    assert attempt.status is None, url
    await client.close()


async def test_a_name_that_changes_after_its_check_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]])

    def look_up(_host: str, _port: int) -> list[str]:
        return next(answers)

    monkeypatch.setattr(addresses, "look_up_host", look_up)
    async with sniffer() as (port, seen):
        url = await require_url_allowed(f"http://rebind.example:{port}/", STRICT)
        async with client(url, STRICT) as sending:
            for _ in range(2):
                attempt = await sending.post([], b"{}")
                assert "internal address" in (attempt.error or "")
        assert seen == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []

    def look_up(host: str, _port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "look_up_host", look_up)
    async with webhook_receiver() as receiver:
        message = b'{"id": "m", "created_at": "2026-01-01T00:00:00Z"}'
        headers = [(b"webhook-id", b"m")]
        async with client(receiver.url(host="shop.example")) as sending:
            assert (await sending.post(headers, message)).status == 200
        assert receiver.headers["/hook"][0]["host"] == f"shop.example:{receiver.port}"
        assert looked_up == ["shop.example"]


async def test_a_name_that_is_not_resolved_in_time_is_named_as_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def look_up(_host: str, _port: int) -> list[str]:
        over.wait(30)
        return []

    monkeypatch.setattr(addresses, "look_up_host", look_up)
    monkeypatch.setattr(addresses, "RESOLVE_WITHIN_S", 0.05)
    try:
        async with client("http://shop.example/hook") as sending:
            attempt = await sending.post([], b"{}")
    finally:
        over.set()
    assert attempt.error == "ConnectionError: the name was not resolved within 3 s"


async def test_redirects_are_failures_and_are_not_followed() -> None:
    async with webhook_receiver() as receiver, sniffer() as (port, seen):
        location = f"http://127.0.0.1:{port}/"
        for code in (301, 302, 303, 307, 308):
            receiver.answers["/hook"] = lambda code=code: status(code, location=location)
            async with client(receiver.url()) as sending:
                attempt = await sending.post([], b"{}")
            assert (attempt.status, attempt.succeeded) == (code, False)
        assert seen == []


async def test_answers_are_cut_at_a_size_and_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("florin.webhooks.http_client.ANSWER_WITHIN_S", 0.5)
    async with webhook_receiver() as receiver, client(receiver.url()) as sending:
        body = "\x00" + "x" * 500_000
        receiver.answers["/hook"] = lambda: status(500, body)
        attempt = await sending.post([], b"{}")
        assert (attempt.status, len(attempt.answer)) == (500, 1000)
        assert "\x00" not in attempt.answer
        receiver.answers["/hook"] = lambda: None
        attempt = await sending.post([], b"{}")
        assert (attempt.status, attempt.error) == (None, "no complete answer within 0.5 s")
        receiver.answers["/hook"] = lambda: OK[:-1]  # a body that never ends
        attempt = await sending.post([], b"{}")
        assert attempt.status is None
        assert attempt.duration_ms < 5_000


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://bücher.example/a?b=c", "https://xn--bcher-kva.example/a?b=c"),
        ("https://93.184.216.34:8443/x", "https://93.184.216.34:8443/x"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://a_b.example/", "https://a_b.example/"),
    ],
)
def test_public_urls_are_accepted(url: str, canonical: str) -> None:
    assert parse_target(url, AddressRules()).url == canonical


def test_plain_http_is_refused_in_production() -> None:
    with pytest.raises(addresses.UrlNotAllowed):
        parse_target("http://example.com/", AddressRules.of("production", None))
    with pytest.raises(addresses.UrlNotAllowed):
        parse_target("https://127.0.0.1/", AddressRules.of("production", None))
    assert parse_target("http://127.0.0.1:1/", AddressRules.of("development", None)).port == 1
