"""Certificate: join the files of a certificate and its key into the one file that HAProxy reads."""

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
    """Return certificate, chain and key as one PEM. Raises OperatorError unless they match."""
    chain, secret = _read(cert), _read(key)
    if b"BEGIN CERTIFICATE" not in chain:
        raise OperatorError(
            f"{cert} contains no PEM certificate; give the certificate chain (fullchain.pem)."
        )
    if _KEY not in secret:
        raise OperatorError(f"{key} contains no PEM private key; give the key of {cert}.")
    if any(word in secret for word in _LOCKED):
        raise OperatorError(
            f"The private key {key} is encrypted, and HAProxy cannot ask for a passphrase. Decrypt"
            f" it: openssl pkey -in {key} -out NEW."
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
                raise OperatorError(f"{key} is not the private key of {cert}.") from None
            raise OperatorError(
                f"{cert} and {key} are not a valid certificate and key ({reason or error})."
            ) from None
    _look_at_dates(cert, chain)
    return pem.decode("ascii")


def install_certificate(cert: Path, key: Path, into: Path) -> None:
    """Write certificate and key to the file that the balancer reads. Raises OperatorError."""
    into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(into, join_certificate(cert, key).encode())


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.") from None
    if not content.isascii():
        raise OperatorError(f"{path} is not a PEM file.")
    return content


def _look_at_dates(cert: Path, chain: bytes) -> None:
    """Warn about an expired or not yet valid certificate; it is used anyway."""
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        return
    now, day = datetime.now(UTC), f"{first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now > first.not_valid_after_utc:
        say(
            f"The certificate {cert} expired on {day}: clients reject it. Replace the file; florin"
            " loads the new one."
        )
    elif now < first.not_valid_before_utc:
        start = f"{first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        say(f"The certificate {cert} is not valid before {start}: clients reject it until then.")
