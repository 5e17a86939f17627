"""The balancer of a cluster: HAProxy with the rendered configuration, and DNS of the test."""

import asyncio
import socket as sockets
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography import x509

from florin.ops.haproxy.program import find_haproxy
from tests.deploy.manifests import rendered
from tests.deploy.test_kubernetes import haproxy_of
from tests.support import certificate
from tests.support.ports import free_port
from tests.support.stream_server import stop_listening
from tests.support.waiting import until


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an address with `addresses`, as a headless Service does."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(0, 12) + 5  # the name, its type and class
        question, kind = data[12:end], struct.unpack(">H", data[end - 4 : end - 2])[0]
        found = self.addresses if kind == 1 else []
        head = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + sockets.inet_aton(each)
            for each in found
        )
        assert self._transport is not None
        self._transport.sendto(head + question + answers, addr)


@dataclass(slots=True)
class Pod:
    """An instance at an address of its own; `status` is that of its readiness."""

    host: str
    status: int = 200
    served: int = 0
    server: asyncio.Server | None = None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                probe = asked.startswith(b"GET /health/ready")
                self.served += not probe
                status = self.status if probe else 200
                text = self.host.encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)))
                writer.write(text)
                await writer.drain()
        writer.close()


@dataclass(slots=True)
class ClusterBalancer:
    """A running HAProxy in front of pods that it finds by DNS."""

    folder: Path
    public: int
    operations: int
    api: int
    names: NameServer
    pods: dict[str, Pod] = field(default_factory=dict[str, Pod])

    async def add(self, host: str) -> Pod:
        pod = self.pods[host] = Pod(host)
        pod.server = await asyncio.start_server(pod.answer, host, self.api)
        self.names.addresses = [*self.names.addresses, host]
        return pod

    def ready(self) -> int:
        return self.status("/ready")

    def status(self, path: str) -> int:
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.operations}{path}", timeout=5).status_code
        return 0


@asynccontextmanager
async def cluster_balancer(folder: Path) -> AsyncGenerator[ClusterBalancer]:
    made = certificate.make(folder, "first.example.com")
    made.key.rename(folder / "certificate.pem.key")
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    asked = transport.get_extra_info("sockname")[1]
    run = ClusterBalancer(folder, free_port(), free_port(), free_port(), names)
    text = haproxy_of(rendered("production"))
    for old, new in (
        ("  parse-resolv-conf\n", f"  nameserver test 127.0.0.1:{asked}\n"),
        ("/etc/haproxy/tls", str(folder)),
        ("/var/run/haproxy", str(folder)),
        (":8443", f":{run.public}"),
        (":8404", f":{run.operations}"),
        (":8000", f":{run.api}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "haproxy.cfg").write_text(text, "utf-8")
    process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
        [str(find_haproxy().path), "-db", "-f", str(folder / "haproxy.cfg")],
        env={"FLORIN_CLUSTER_API": "florin-api-blue", "FLORIN_CLUSTER_NAMESPACE": "florin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield run
    finally:
        process.kill()
        process.wait()
        for pod in run.pods.values():
            assert pod.server is not None
            await stop_listening(pod.server)
        transport.close()


def _client(run: ClusterBalancer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"https://127.0.0.1:{run.public}", verify=False, timeout=20)  # noqa: S501 -- self-signed


async def test_pods_come_and_go_by_dns_and_drain_by_their_readiness(tmp_path: Path) -> None:
    async with cluster_balancer(tmp_path) as run:
        await until(lambda: run.ready() == 503)  # it knows no instance yet: no traffic
        first = await run.add("127.0.0.2")
        await until(lambda: run.ready() == 200)
        async with _client(run) as http:
            assert (await http.get("/api/v1/cards")).text == "127.0.0.2"
            second = await run.add("127.0.0.3")
            served: set[str] = set()

            async def ask() -> str:
                answer = await http.get("/api/v1/cards")
                assert answer.status_code == 200
                return answer.text

            while served != {"127.0.0.2", "127.0.0.3"}:
                served.add(await ask())
            first.status = 404  # it drains: it serves what still arrives
            quiet, before = 0, first.served
            while quiet < 40:
                await ask()
                quiet = quiet + 1 if first.served == before else 0
                before = first.served
            run.names.addresses = ["127.0.0.3"]
            assert first.server is not None
            await stop_listening(first.server)
            assert {await ask() for _ in range(40)} == {"127.0.0.3"}
        assert second.served > 40


def _subject(port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        sockets.create_connection(("127.0.0.1", port), timeout=20) as raw,
        context.wrap_socket(raw) as tls,
    ):
        shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
        return shown.subject.rfc4514_string()


async def test_a_renewed_certificate_is_loaded_and_open_connections_go_on(tmp_path: Path) -> None:
    async with cluster_balancer(tmp_path) as run:
        await run.add("127.0.0.2")
        await until(lambda: run.ready() == 200)
        names = ("socket", "loaded", "certificate", "key")
        files = ("balancer.sock", "certificate.pem", "certificate.pem", "certificate.pem.key")
        options = [f"--{n}={tmp_path / f}" for n, f in zip(names, files, strict=True)]
        with (tmp_path / "watch.log").open("w") as log:
            watch = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [sys.executable, "-P", "-m", "florin", "renew-certificate", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            await until(lambda: "is loaded" in (tmp_path / "watch.log").read_text("utf-8"))
            assert _subject(run.public) == "CN=first.example.com"
            async with _client(run) as http:
                assert (await http.get("/api/v1/cards")).status_code == 200
                renewed = tmp_path / "renewed"
                renewed.mkdir()
                made = certificate.make(renewed, "second.example.com")
                made.key.rename(tmp_path / "certificate.pem.key")  # half of it: changes nothing
                await asyncio.sleep(0)
                made.certificate.rename(tmp_path / "certificate.pem")
                await until(lambda: _subject(run.public) == "CN=second.example.com", within_s=30)
                assert (await http.get("/api/v1/cards")).status_code == 200
            assert watch.poll() is None
        finally:
            watch.kill()
            watch.wait()


@pytest.mark.parametrize("word", ["/live", "/metrics"])
async def test_the_operations_port_answers_without_instances(tmp_path: Path, word: str) -> None:
    async with cluster_balancer(tmp_path) as run:
        await until(lambda: run.ready() == 503)
        assert run.status(word) == 200
