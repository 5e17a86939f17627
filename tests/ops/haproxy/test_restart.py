"""Restart: a killed or replaced balancer, certificates, request ids, and its operations port."""

import asyncio
import datetime as dt
import json
import os
import signal
import socket as sockets
import ssl
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from florin.ops.haproxy import certificate, metrics, runtime_api
from florin.ops.haproxy.server_slots import BalancerState
from florin.ops.system.console import OperatorError
from tests.ops.haproxy.haproxy_process import client, running
from tests.ops.haproxy.stub_instances import standins


@pytest.mark.parametrize("restored", [False, True], ids=["alone", "restored"])
async def test_a_killed_balancer_restarts_with_servers_drains_and_algorithm(
    tmp_path: Path, restored: bool
) -> None:
    async with standins("a", "b", "c") as fleet, running(tmp_path) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
        await run.balancer.drain("b")
        await run.balancer.switch("leastconn")
        run.kill()
        begun = time.monotonic()
        await run.start(restore=restored)
        back = time.monotonic() - begun
        for each in fleet.values():
            each.calls.clear()
        async with client(run.base) as http:
            for _ in range(12):
                assert (await http.get("/api/v1/cards")).status_code == 200
        assert fleet["b"].calls == []
        assert len(fleet["a"].calls) + len(fleet["c"].calls) == 12
        asked = [
            row.requests
            for row in await runtime_api.read_servers(run.balancer.edge.socket)
            if row.backend == "leastconn"
        ]
        assert sum(asked) == 12
        if restored:
            # On a busy machine an instance that misses its probes is down first.
            await run.until("b", lambda seen: seen.admin == "drain")
        await run.balancer.ready("b")
        assert back < 30  # a second on a machine with nothing else to do


async def test_replacing_the_balancer_process_breaks_no_connection(tmp_path: Path) -> None:
    """Busy and idle connections, and requests without retries: the port is never closed."""
    failures, stop = list[str](), asyncio.Event()

    async def calling(gap_s: float) -> int:
        answered = 0
        async with client(run.base, limits=httpx.Limits(keepalive_expiry=None)) as http:
            while not stop.is_set():
                try:
                    assert (await http.post("/api/v1/cards")).status_code == 200
                except (httpx.TransportError, AssertionError) as error:
                    failures.append(repr(error))
                answered += 1
                await asyncio.sleep(gap_s)
        return answered

    async with standins("a", "b") as fleet, running(tmp_path) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
            each.delay_s = 0.02
        await run.balancer.drain("b")
        await run.balancer.switch("leastconn")
        callers = [asyncio.create_task(calling(gap)) for gap in (0, 0, 0, 0.01, 0.1, 0.5, 1)]
        await asyncio.sleep(0.5)
        for _ in range(2):
            before = await run.relieve()
            # Each caller has sent one more request; then the old process can end.
            assert await asyncio.to_thread(before.wait, 30) in {0, 128 + signal.SIGTERM}
        stop.set()
        assert min(await asyncio.gather(*callers)) >= 1
        assert fleet["b"].calls == []
        assert [(seen.name, seen.admin) for seen in await run.balancer.observe()] == [
            ("a", "ready"),
            ("b", "drain"),
        ]
    assert failures == []


async def test_changes_written_but_not_sent_are_restored(tmp_path: Path) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        await run.balancer.admit("a", fleet["a"].address)
        await run.balancer.admit("b", fleet["b"].address)
        # As if each change had been written and its writer killed before it was sent to HAProxy.
        known = run.balancer.facts()
        wanted = known.draining("a").switched("iphash").forgetting("b")
        run.balancer.edge.facts.write_bytes(json.dumps(_plain(wanted)).encode())
        await run.balancer.restore()
        assert [(seen.name, seen.admin) for seen in await run.balancer.observe()] == [
            ("a", "drain")
        ]
        rows = await runtime_api.read_servers(run.balancer.edge.socket)
        assert {row.admin for row in rows if row.server == "s2"} == {"maintenance"}
        assert "iphash" in await runtime_api.send_command(
            run.balancer.edge.socket, "show map algorithm.map"
        )


def _plain(facts: BalancerState) -> object:
    return {
        "algorithm": facts.algorithm,
        "servers": [
            {"name": s.name, "slot": s.slot, "address": s.address, "admitted": s.admitted}
            for s in facts.servers
        ],
    }


async def test_without_a_balancer_commands_fail_and_changes_are_kept(
    tmp_path: Path,
) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        run.kill()
        assert not await run.balancer.alive()
        with pytest.raises(runtime_api.HaproxyUnreachable):
            await run.balancer.observe()
        with pytest.raises(runtime_api.HaproxyUnreachable):
            await run.balancer.admit("a", fleet["a"].address)
        await run.start()
        assert (await run.seen("a")).address == fleet["a"].address


async def test_a_refusal_of_haproxy_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        with pytest.raises(runtime_api.CommandRefused, match="No such"):
            await runtime_api.send_changes(
                run.balancer.edge.socket, ["set server nowhere/s1 state drain"]
            )


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def _shown(port: int) -> tuple[str, str | None]:
    """Return the subject of the served certificate and the negotiated protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        sockets.create_connection(("127.0.0.1", port), timeout=60) as raw,
        context.wrap_socket(raw) as tls,
    ):
        shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
        return shown.subject.rfc4514_string(), tls.selected_alpn_protocol()


async def test_a_certificate_is_replaced_while_connections_go_on(tmp_path: Path) -> None:
    first, second = _pair(tmp_path, "first"), _pair(tmp_path, "second")
    async with standins("a") as fleet, running(tmp_path, tls=True, started=False) as run:
        certificate.install_certificate(*first, run.balancer.edge.certificate)
        await run.start()
        await run.balancer.admit("a", fleet["a"].address)
        port = run.balancer.edge.port
        assert _shown(port) == ("CN=first", "h2")
        async with client(f"https://127.0.0.1:{port}", verify=False) as http:
            answer = await http.get("/api/v1/cards")
            assert answer.json()["headers"]["x-forwarded-proto"] == "https"
            await run.balancer.replace_certificate(*second)
            assert (await http.get("/api/v1/cards")).status_code == 200
        assert _shown(port) == ("CN=second", "h2")
        with pytest.raises(OperatorError, match="is not the private key of"):
            await run.balancer.replace_certificate(first[0], second[1])
        assert _shown(port) == ("CN=second", "h2")
        run.kill()
        await run.start()
        assert _shown(port) == ("CN=second", "h2")
        assert run.balancer.edge.certificate.stat().st_mode & 0o077 == 0


async def test_every_request_has_one_id_and_no_forged_headers(tmp_path: Path) -> None:
    async with standins("a") as fleet, running(tmp_path) as run:
        await run.balancer.admit("a", fleet["a"].address)
        async with client(run.base) as http:

            async def received_headers(**headers: str) -> dict[str, str]:
                return (await http.get("/api/v1/cards", headers=headers)).json()["headers"]

            assert (await received_headers(**{"x-request-id": "mine-1"}))[
                "x-request-id"
            ] == "mine-1"
            made = {(await received_headers())["x-request-id"] for _ in range(3)}
            assert len(made) == 3
            assert (await received_headers(**{"x-request-id": "no good"}))[
                "x-request-id"
            ].startswith("req_")
            forged = {"forwarded": "for=1.2.3.4", "x-forwarded-proto": "https"}
            received = await received_headers(**forged, **{"x-forwarded-host": "evil"})
        assert received["x-forwarded-proto"] == "http"
        assert not {"forwarded", "x-forwarded-host"} & set(received)


async def test_without_an_instance_it_answers_like_the_api(tmp_path: Path) -> None:
    async with running(tmp_path) as run, client(run.base) as http:
        answer = await http.get("/api/v1/cards")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["code"] == "overloaded"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_the_operations_port_shows_the_balancer_and_the_fleet(tmp_path: Path) -> None:
    async with standins("a", "b") as fleet, running(tmp_path) as run:
        for name, each in fleet.items():
            await run.balancer.admit(name, each.address)
        port = run.balancer.edge.fleet_metrics_port
        assert port is not None
        addresses = {name: each.address for name, each in fleet.items()}
        server = await metrics.serve_fleet_metrics(port, lambda: addresses)
        try:
            async with client(run.operator) as http:
                assert "roundrobin" in (await http.get("/stats")).text
                assert "haproxy_server_status" in (await http.get("/metrics")).text
                answer = await http.get("/metrics/fleet")
        finally:
            server.close()
        assert 'florin_instance_up{instance="b"} 1' in answer.text
        assert answer.headers["content-type"].startswith("text/plain")


async def test_the_balancer_drops_root_privileges(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert run.process is not None
        status = Path(f"/proc/{run.process.pid}/status").read_text("ascii")  # noqa: ASYNC240
        uid = next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:"))
        assert int(uid) != 0
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(60) in {0, 143, -signal.SIGTERM}
        assert os.path.exists(run.balancer.edge.configuration)  # noqa: PTH110, ASYNC240
