"""The receivers of alerts answer as the real services do: other tests rely on their refusals."""

import json
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import certificate
from tests.support.receivers import mail_server, pagerduty, slack
from tests.support.receivers.pagerduty import OUTAGE, ROUTING_KEY
from tests.support.receivers.slack import RATE_LIMITED
from tests.support.receivers.smtp import PASSWORD, USER

PAYLOAD = {"summary": "The API is down", "source": "florin", "severity": "critical"}


def event(action: str, key: str, **other: Any) -> dict[str, Any]:
    return {"routing_key": ROUTING_KEY, "event_action": action, "dedup_key": key, **other}


def test_pagerduty_merges_by_its_key_and_resolves() -> None:
    with pagerduty() as server, httpx.Client() as http:
        trigger = event("trigger", "a", payload=PAYLOAD)
        first = http.post(server.url, json=trigger)
        assert first.status_code == 202
        assert first.json() == {
            "status": "success",
            "message": "Event processed",
            "dedup_key": "a",
        }
        http.post(server.url, json=trigger)
        [incident] = server.open_incidents()
        assert (incident.summary, incident.triggers) == ("The API is down", 2)
        http.post(server.url, json=event("resolve", "other"))
        assert incident.open
        http.post(server.url, json=event("resolve", "a"))
        assert server.wait_resolved(incident, 1) >= incident.opened_at
        http.post(server.url, json=trigger)
        assert len(server.incidents) == 2
        assert server.attempts == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (event("trigger", "a"), "'payload' is missing"),
        (event("trigger", "a", payload=PAYLOAD | {"severity": "page"}), "'payload.severity'"),
        (event("trigger", "a", payload=PAYLOAD | {"summary": ""}), "'payload.summary'"),
        (event("trigger", "a", payload=PAYLOAD | {"summary": "x" * 1025}), "1024"),
        (event("open", "a", payload=PAYLOAD), "'event_action'"),
        (event("resolve", ""), "'dedup_key'"),
        (event("resolve", "a" * 256), "255"),
        (event("resolve", "a") | {"routing_key": "short"}, "'routing_key'"),
        (event("resolve", "a") | {"routing_key": "f" * 32}, "'routing_key' is unknown"),
    ],
)
def test_pagerduty_refuses_invalid_events(wrong: dict[str, Any], named: str) -> None:
    with pagerduty() as server:
        answer = httpx.post(server.url, json=wrong)
        assert answer.status_code == 400
        assert named in json.dumps(answer.json()["errors"])
        assert not server.events


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (None, "'payload' is missing"),
        ({"summary": ""}, "'payload.summary'"),
        ({"summary": "x" * 1025}, "1024"),
        ({"summary": "A deployment", "timestamp": "yesterday"}, "'payload.timestamp'"),
        ({"summary": "A deployment", "timestamp": "2026-11-30T09:14:00.000Z"}, None),
    ],
)
def test_pagerduty_takes_change_events(payload: dict[str, Any] | None, named: str | None) -> None:
    with pagerduty() as server:
        url = server.url.replace("/v2/enqueue", "/v2/change/enqueue")
        body = {"routing_key": ROUTING_KEY, "payload": payload}
        answer = httpx.post(url, json=body)
        assert answer.status_code == (400 if named else 202)
        assert named is None or named in json.dumps(answer.json()["errors"])
        assert len(server.changes) == (named is None)
        assert not server.incidents
        assert httpx.post(url, json={**body, "routing_key": "f" * 32}).status_code == 400


def test_slack_takes_messages_and_refuses_invalid_ones() -> None:
    with slack() as server, httpx.Client() as http:
        attachment = {
            "title": "Down",
            "text": "No instance",
            "fields": [{"title": "a", "value": 1}],
        }
        answer = http.post(server.url, json={"attachments": [attachment]})
        assert (answer.status_code, answer.text) == (200, "ok")
        assert server.wait_for("No instance", 1).text == "Down\nNo instance\na: 1"
        assert http.post(server.url, json={}).text == "no_text"
        assert http.post(server.url, content=b"{").text == "invalid_payload"
        assert http.post(server.url + "x", json={"text": "a"}).text == "invalid_token"
        assert len(server.messages) == 1


def test_http_receivers_fail_and_disappear() -> None:
    with slack() as server, pagerduty() as other:
        server.fail(RATE_LIMITED, times=2)
        other.fail(OUTAGE)
        answers = [httpx.post(server.url, json={"text": "a"}) for _ in range(3)]
        assert [each.status_code for each in answers] == [429, 429, 200]
        assert answers[0].headers["retry-after"] == "1"
        assert httpx.post(other.url, json=event("resolve", "a")).status_code == 500
        server.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.post(server.url, json={"text": "a"})
        server.start()
        assert httpx.post(server.url, json={"text": "b"}).status_code == 200
        assert [each.text for each in server.messages] == ["a", "b"]


def mail(subject: str) -> EmailMessage:
    made = EmailMessage()
    made["subject"], made["from"], made["to"] = subject, "florin@tests.example", "op@tests.example"
    made.set_content("Naïve text")
    return made


def test_mail_arrives_after_a_sign_in_and_can_be_refused() -> None:
    with mail_server() as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.send_message(mail("Without a sign-in"))
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(USER, "wrong")
        client.login(USER, PASSWORD)
        server.fail()
        with pytest.raises(smtplib.SMTPDataError):
            client.send_message(mail("Refused"))
        client.send_message(mail("The API is down"))
        arrived = server.wait_for("API", 1)
        assert arrived.recipients == ("op@tests.example",)
        assert "Naïve text" in arrived.text
        assert not arrived.encrypted
        assert [each.subject for each in server.mails] == ["The API is down"]


def test_mail_with_a_certificate_is_taken_only_encrypted(tmp_path: Path) -> None:
    made = certificate.make(tmp_path, "localhost")
    trusted = ssl.create_default_context(cafile=made.certificate)
    with mail_server(made) as server:
        with smtplib.SMTP("localhost", server.port) as client:
            with pytest.raises(smtplib.SMTPException):
                client.login(USER, PASSWORD)
            client.starttls(context=trusted)
            client.login(USER, PASSWORD)
            client.send_message(mail("Encrypted"))
        assert server.wait_for("Encrypted", 1).encrypted
        server.stop()
        server.start()
        with smtplib.SMTP("localhost", server.port) as again:
            assert again.noop()[0] == 250
