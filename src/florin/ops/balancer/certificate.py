"""Certificate: a certificate and its key, as files, become the one file HAProxy reads."""

import ssl
import tempfile
from pathlib import Path

from florin.ops.home import write
from florin.ops.tell import Unable


def joined(cert: Path, key: Path) -> str:
    """Return certificate, chain and key as one PEM. Raises Unable unless they fit each other."""
    try:
        pem = f"{cert.read_text('ascii').strip()}\n{key.read_text('ascii').strip()}\n"
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not PEM"
        name = error.filename if isinstance(error, OSError) else f"{cert} or {key}"
        raise Unable(f"The certificate cannot be used: {name}: {words}.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "pair.pem"
        write(whole, pem.encode())
        try:
            context.load_cert_chain(whole, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            raise Unable(
                f"{cert} and {key} are no certificate and its key"
                f" ({getattr(error, 'reason', None) or error})."
            ) from None
    return pem


def install(cert: Path, key: Path, into: Path) -> None:
    """Put them where the balancer reads them when it starts. Raises Unable."""
    into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(into, joined(cert, key).encode())
