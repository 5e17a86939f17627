"""Webhooks: verify what Florin sends to an endpoint (Standard Webhooks 1.0)."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence

import msgspec

from florin_client.errors import InvalidSignature
from florin_client.nouns import Event, decode_answer

TOLERANCE_S = 300
_PREFIX = "whsec_"
_KEY_MIN = 16  # bytes; Florin's have 32


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> Event:
    """The event of a message. `body`: the bytes as they arrived, before any parsing. `secrets`: of
    the endpoint; during a rotation both. `tolerance_s`: how far its time may be off, both ways.

    Raises InvalidSignature, ValueError for a secret that is none.
    """
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("no secret was given: every message would have to be refused")
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, at = lower["webhook-id"], lower["webhook-timestamp"]
        given = lower["webhook-signature"].split(" ")
        off_s = abs((time.time() if now is None else now) - int(at))
    except KeyError as missing:
        raise InvalidSignature(f"the header {missing.args[0]} is missing") from None
    except ValueError:
        raise InvalidSignature("webhook-timestamp is not a number") from None
    if off_s > tolerance_s:
        raise InvalidSignature(f"the message is {off_s:.0f} s off, more than {tolerance_s} s")
    expected = [sign_message(key, message_id, at, body).encode() for key in keys]
    # All are compared, so that the time shows neither which one fits nor how far.
    fits = [hmac.compare_digest(ours, one.encode()) for ours in expected for one in given]
    if not any(fits):
        raise InvalidSignature("no signature fits: the body was changed, or the secret is another")
    try:
        return decode_answer(body, Event)
    except msgspec.MsgspecError as wrong:
        raise InvalidSignature(f"the message is not an event: {wrong}") from None


def sign_message(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature `v1,…` of a message."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _KEY_MIN:
        raise ValueError("a webhook secret begins with whsec_ and is the one of the endpoint")
    return key
