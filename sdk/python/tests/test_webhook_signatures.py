"""Webhooks: what is accepted as a message of Florin, compared with the standard's own library."""

import base64
import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from florin_client import InvalidSignature, verify_webhook
from florin_client.testing import new_webhook_secret, signed_webhook

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "card.issued",
    "created_at": "2026-12-01T00:00:00Z",
    "sequence": 1,
    "data": {"object": {"id": "crd_1", "name": "Zoë"}},
}


def test_a_message_is_accepted_as_the_library_of_the_standard_does() -> None:
    secret = new_webhook_secret()
    body, headers = signed_webhook(EVENT, secret)
    assert Webhook(secret).verify(body, headers) == EVENT
    event = verify_webhook(body, {name.title(): each for name, each in headers.items()}, secret)
    assert (event.id, event.data, event.raw) == ("evt_1", EVENT["data"], EVENT)


def test_both_secrets_are_accepted_during_a_rotation() -> None:
    old, new = new_webhook_secret(), new_webhook_secret()
    body, headers = signed_webhook(EVENT, old)
    _, newer = signed_webhook(EVENT, new)
    both = f"{newer['webhook-signature']} {headers['webhook-signature']}"
    assert verify_webhook(body, headers | {"webhook-signature": both}, old).id == "evt_1"
    assert verify_webhook(body, headers, [new, old]).id == "evt_1"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"webhook-id": "evt_2"}, "no signature fits"),
        ({"webhook-signature": "v1,AAAA v2,é"}, "no signature fits"),
        ({"webhook-timestamp": "soon"}, "not a number"),
    ],
)
def test_a_changed_message_is_refused(change: dict[str, str], why: str) -> None:
    secret = new_webhook_secret()
    body, headers = signed_webhook(EVENT, secret)
    with pytest.raises(InvalidSignature, match=why):
        verify_webhook(body, headers | change, secret)


@pytest.mark.parametrize("off_s", [-400, 400])
def test_an_old_or_a_future_message_is_refused(off_s: int) -> None:
    secret = new_webhook_secret()
    body, headers = signed_webhook(EVENT, secret)
    changed = headers | {"webhook-timestamp": str(int(time.time()) + off_s)}
    with pytest.raises(InvalidSignature, match="s off"):
        verify_webhook(body, changed, secret)


def test_another_body_or_secret_is_refused() -> None:
    secret = new_webhook_secret()
    body, headers = signed_webhook(EVENT, secret)
    with pytest.raises(InvalidSignature, match="no signature fits"):
        verify_webhook(body.replace(b"crd_1", b"crd_2"), headers, secret)
    with pytest.raises(InvalidSignature, match="no signature fits"):
        verify_webhook(body, headers, new_webhook_secret())
    with pytest.raises(InvalidSignature, match="webhook-id is missing"):
        verify_webhook(body, {}, secret)
    body, headers = signed_webhook({"id": "evt_1"}, secret)
    with pytest.raises(InvalidSignature, match="not an event"):
        verify_webhook(body, headers, secret)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_%%", "abc", "whsec_" + base64.b64encode(b"short").decode()]
)
def test_a_secret_that_is_none_verifies_nothing(secret: str) -> None:
    body, headers = signed_webhook(EVENT, new_webhook_secret())
    with pytest.raises(ValueError, match="whsec_"):
        verify_webhook(body, headers, secret)
    with pytest.raises(ValueError, match="no secret"):
        verify_webhook(body, headers, [])
