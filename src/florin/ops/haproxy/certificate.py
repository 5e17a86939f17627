"""Certificate: a certificate and its key, as files, become the one file HAProxy reads."""

import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from florin.ops.fleet.home import write_file
from florin.ops.system.console import OperatorError, say

_KEY = b"PRIVATE KEY-----"
_LOCKED = (b"ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def join_certificate(cert: Path, key: Path) -> str:
    """Return certificate, chain and key as one PEM. Raises OperatorError unless they fit each
    other.
    """
    chain, secret = _read(cert), _read(key)
    if b"BEGIN CERTIFICATE" not in chain:
        raise OperatorError(
            f"{cert} holds no certificate in PEM; give the chain, as fullchain.pem."
        )
    if _KEY not in secret:
        raise OperatorError(f"{key} holds no private key in PEM; give the key of {cert}.")
    if any(word in secret for word in _LOCKED):
        raise OperatorError(
            f"The key {key} is encrypted and nobody is there to open it; decrypt it:"
            f" openssl pkey -in {key} -out NEW."
        )
    pem = b"%s\n%s\n" % (chain.strip(), secret.strip())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "pair.pem"
        write_file(whole, pem)
        try:
            context.load_cert_chain(whole)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None)
            if reason == "KEY_VALUES_MISMATCH":
                raise OperatorError(f"{key} is not the key of {cert}: they do not fit.") from None
            raise OperatorError(
                f"{cert} and {key} are no certificate and its key ({reason or error})."
            ) from None
    _look_at_dates(cert, chain)
    return pem.decode("ascii")


def install_certificate(cert: Path, key: Path, into: Path) -> None:
    """Put them where the balancer reads them when it starts. Raises OperatorError."""
    into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(into, join_certificate(cert, key).encode())


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"The certificate cannot be used: {path}: {error.strerror}.") from None
    if not content.isascii():
        raise OperatorError(f"The certificate cannot be used: {path} is not PEM.")
    return content


def _look_at_dates(cert: Path, chain: bytes) -> None:
    """Say what clients will find; it is used all the same, as there may be no better one."""
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        return
    now, day = datetime.now(UTC), f"{first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now > first.not_valid_after_utc:
        say(f"{cert} was valid until {day}: clients that look refuse it; replace it in place.")
    elif now < first.not_valid_before_utc:
        say(f"{cert} is valid only from {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on.")
