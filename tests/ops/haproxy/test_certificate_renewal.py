"""Renewal: a certificate replaced on disk is served at once; a mistake is one sentence."""

import os
import shutil
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from florin.ops.haproxy import certificate
from florin.ops.system.console import OperatorError
from tests.ops.conftest import TestFleet, run_cli, until
from tests.support.certificate import Certificate, make


def shown(port: int, host: str) -> bool:
    """Return whether the served certificate is for this host."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw) as tls,
    ):
        return host.encode() in (tls.getpeercert(binary_form=True) or b"")


def put(pair: Certificate, folder: Path) -> None:
    """Replace both files, one after the other, as a renewal does."""
    for path in (pair.certificate, pair.key):
        shutil.copy(path, folder / f"{path.name}.new")
        (folder / f"{path.name}.new").rename(folder / path.name)


@pytest.mark.slow
def test_a_renewed_certificate_is_served_and_survives_a_takeover(
    fleet: TestFleet, tmp_path: Path
) -> None:
    for name in ("first", "second", "third", "used"):
        (tmp_path / name).mkdir()
    used = make(tmp_path / "used", "first.test")
    fleet.environ["STANDIN_TLS"] = f"{used.certificate}{os.pathsep}{used.key}"
    first = fleet.up()
    balancer = fleet.process("balancer")
    assert shown(fleet.port, "first.test")
    put(make(tmp_path / "second", "second.test"), tmp_path / "used")
    until(lambda: shown(fleet.port, "second.test"), "the second certificate")
    # The next supervisor watches the same files without an option.
    del fleet.environ["STANDIN_TLS"]
    fleet.up()
    assert first.wait(30) == 0
    put(make(tmp_path / "third", "third.test"), tmp_path / "used")
    until(lambda: shown(fleet.port, "third.test"), "the third certificate")
    assert fleet.process("balancer") == balancer


MISTAKES = {
    "the key of another": "is not the private key of",
    "the other way round": "contains no PEM certificate",
    "no key": "contains no PEM private key",
    "not PEM": "is not a PEM file",
    "cut off": "are not a valid certificate and key",
    "encrypted": "openssl pkey -in",
    "a directory": "Is a directory",
    "not there": "No such file",
}


def _mistaken(folder: Path, mistake: str) -> tuple[Path, Path]:
    (folder / "other").mkdir()
    good, other = make(folder, "a.test"), make(folder / "other", "b.test")
    match mistake:
        case "the key of another":
            return good.certificate, other.key
        case "the other way round":
            return good.key, good.certificate
        case "no key":
            return good.certificate, good.certificate
        case "not PEM":
            good.certificate.write_bytes(b"\x30\x82\xff")
        case "cut off":
            good.certificate.write_bytes(good.certificate.read_bytes()[:200])
        case "encrypted":
            key = serialization.load_pem_private_key(good.key.read_bytes(), None)
            form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
            secret = serialization.BestAvailableEncryption(b"secret")
            good.key.write_bytes(key.private_bytes(*form, secret))
        case "a directory":
            return folder, good.key
        case _:
            return folder / "nothing.pem", good.key
    return good.certificate, good.key


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path: Path, mistake: str) -> None:
    with pytest.raises(OperatorError) as raised:
        certificate.join_certificate(*_mistaken(tmp_path, mistake))
    assert MISTAKES[mistake] in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_up_reports_an_invalid_certificate_before_it_starts_parts(
    fleet: TestFleet, tmp_path: Path
) -> None:
    cert, key = _mistaken(tmp_path, "the key of another")
    words = ("up", "--port", str(fleet.port), "--tls-cert", str(cert), "--tls-key", str(key))
    said = run_cli(fleet, *words)
    assert said.returncode == 1
    *_, last = said.stderr.strip().splitlines()
    assert last == f"florin: {key} is not the private key of {cert}."
    assert fleet.home.fleet().of("postgres-primary") == ()


def test_an_expired_certificate_is_reported_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make(tmp_path, "a.test")
    certificate.join_certificate(pair.certificate, pair.key)
    assert capsys.readouterr().err == ""

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            del tz
            return datetime.now(UTC) + timedelta(days=2)

    monkeypatch.setattr(certificate, "datetime", Later)
    assert "BEGIN CERTIFICATE" in certificate.join_certificate(pair.certificate, pair.key)
    assert "clients reject it" in capsys.readouterr().err
