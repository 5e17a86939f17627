"""Signing: secrets and signatures of Standard Webhooks 1.0.0 (standardwebhooks.com)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
_BYTES = 32


def make_webhook_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signature_headers(
    message_id: str, at: int, body: bytes, secret_texts: Sequence[str]
) -> list[tuple[bytes, bytes]]:
    """The three headers of an attempt. `at`: Unix seconds. During a rotation there are two secrets
    and two signatures, separated by a space; a receiver accepts the message if one is right.
    """
    signed = f"{message_id}.{at}.".encode() + body
    signatures = " ".join(f"v1,{_sign(text, signed)}" for text in secret_texts)
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", str(at).encode()),
        (b"webhook-signature", signatures.encode()),
    ]


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
