"""The receivers, against servers that speak their protocols."""

from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from florin.kit.settings import InvalidSettings
from florin.kit.settings.settings import read_receivers
from florin.ops.alerting.alert_states import Alert, AlertDelivery
from florin.ops.alerting.change_events import ChangeEvent
from florin.ops.alerting.delivery_plan import Kind
from florin.ops.alerting.notice import ChangeNotice, Notice, ReceiverError
from florin.ops.alerting.receivers import make_receivers, open_client
from florin.ops.fleet.audit_log import OperationRecord
from tests.support import certificate
from tests.support.receivers import MailServer, mail_server, pagerduty, slack
from tests.support.receivers.pagerduty import OUTAGE as PAGERDUTY_OUTAGE
from tests.support.receivers.slack import OUTAGE as SLACK_OUTAGE
from tests.support.receivers.slack import RATE_LIMITED
from tests.support.receivers.smtp import OUTAGE as MAIL_OUTAGE
from tests.support.receivers.smtp import PASSWORD, USER

ALERT = Alert(
    name="QueueLate", label="bulk", severity="page", runbook="queue-grows", state="firing",
    summary="The oldest job of <bulk> waits 192 s & more", since=1_900_000_000, seen=0, fired=1,
)  # fmt: skip


def notice(kind: Kind, alert: Alert = ALERT) -> Notice:
    page = "http://127.0.0.1:8001/operator"
    return Notice(kind=kind, alert=alert, place="cards.example.com", page=page)


def change(outcome: str, message: str = "") -> ChangeNotice:
    record = OperationRecord(
        at="2026-11-30T09:14:00.000Z", who="jana", what="florin deploy --verify", outcome=outcome,
        message=message, seconds=None if outcome == "begun" else 41.2,
        details={"outcome": outcome, "release": "b77c01d"},
    )  # fmt: skip
    page = "http://127.0.0.1:8001/operator"
    return ChangeNotice(event=ChangeEvent(record=record), place="cards.example.com", page=page)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as opened:
        yield opened


def receiver(client: httpx.AsyncClient, **environ: str) -> Any:
    [made] = make_receivers(read_receivers(environ), client)
    return made


@contextmanager
def mail(**more: Any) -> Generator[tuple[MailServer, dict[str, str]]]:
    with mail_server(**more) as server:
        yield (
            server,
            {
                "FLORIN_ALERT_EMAIL": "oncall@example.com, boss@example.com",
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": str(server.port),
                "SMTP_USER": USER,
                "SMTP_PASSWORD": PASSWORD,
                "SMTP_FROM": "florin@example.com",
                "SMTP_TLS": "starttls" if more else "off",
            },
        )


async def test_an_incident_is_opened_repeated_and_resolved_under_one_key(
    client: httpx.AsyncClient,
) -> None:
    with pagerduty() as server:
        made = receiver(client, PAGERDUTY_ROUTING_KEY=server.routing_key, PAGERDUTY_URL=server.url)
        await made.send(notice("firing"))
        await made.send(notice("repeated"))
        [incident] = server.incidents
        assert (incident.triggers, incident.open, incident.severity) == (2, True, "critical")
        assert incident.summary == f"QueueLate/bulk: {ALERT.summary} (cards.example.com)"
        [link] = server.events[0]["links"]
        assert link["href"] == "http://127.0.0.1:8001/operator/runbooks/queue-grows"
        await made.send(notice("ended"))
        assert not incident.open
        await made.send(notice("firing"))
        assert len(server.incidents) == 2


async def test_a_deployment_is_a_change_event_and_no_incident(client: httpx.AsyncClient) -> None:
    with pagerduty() as server:
        made = receiver(client, PAGERDUTY_ROUTING_KEY=server.routing_key, PAGERDUTY_URL=server.url)
        await made.send_change(change("begun"))
        await made.send_change(change("undone", "12 requests failed"))
        assert not server.incidents
        payloads = [each["payload"] for each in server.changes]
        assert [each["summary"] for each in payloads] == [
            "[DEPLOYMENT STARTED] florin deploy --verify, by jana (cards.example.com)",
            "[DEPLOYMENT UNDONE] florin deploy --verify, by jana (cards.example.com)",
        ]
        assert payloads[1]["timestamp"] == "2026-11-30T09:14:00.000Z"
        assert payloads[1]["custom_details"]["why"] == "12 requests failed"
        assert payloads[1]["custom_details"]["release"] == "b77c01d"
        server.fail(PAGERDUTY_OUTAGE)
        with pytest.raises(ReceiverError, match="500"):
            await made.send_change(change("done"))


async def test_the_reason_of_an_undone_deployment_is_in_the_message(
    client: httpx.AsyncClient,
) -> None:
    why = "12 requests of <GET /cards> failed"
    with slack() as chat, mail() as (mails, environ):
        await receiver(client, SLACK_WEBHOOK_URL=chat.url).send_change(change("undone", why))
        [text] = [each.text for each in chat.messages]
        assert "[DEPLOYMENT UNDONE] florin deploy --verify, by jana" in text
        assert "12 requests of &lt;GET /cards&gt; failed" in text
        assert "2026-11-30 09:14:00 UTC, took 41.2 s" in text
        made = receiver(client, **environ)
        await made.send_change(change("undone", why))
        await made.send_change(change("undone", why))
        first, again = mails.mails
        assert first.subject.lstrip() == (  # a long one is folded
            "[DEPLOYMENT UNDONE] florin deploy --verify, by jana (cards.example.com)"
        )
        assert why in first.text
        assert first.message["Message-ID"] == again.message["Message-ID"]


async def test_slack_gets_text_that_no_alert_can_format(client: httpx.AsyncClient) -> None:
    with slack() as server:
        made = receiver(client, SLACK_WEBHOOK_URL=server.url)
        await made.send(notice("firing"))
        await made.send(notice("ended"))
        first, second = (each.text for each in server.messages)
        assert (
            "[FIRING] QueueLate/bulk: The oldest job of &lt;bulk&gt; waits 192 s &amp; more"
            in first
        )
        assert "/operator/runbooks/queue-grows|Runbook queue-grows>" in first
        assert "[RESOLVED] QueueLate/bulk" in second


async def test_a_mail_goes_to_all_addresses_and_its_end_into_the_same_thread(
    client: httpx.AsyncClient,
) -> None:
    with mail() as (server, environ):
        made = receiver(client, **environ)
        await made.send(notice("firing"))
        await made.send(notice("ended"))
        first, second = server.mails
        assert first.recipients == ("oncall@example.com", "boss@example.com")
        assert first.sender == "florin@example.com"
        assert first.subject == f"[FIRING] QueueLate/bulk: {ALERT.summary} (cards.example.com)"
        assert second.subject.startswith("[RESOLVED] QueueLate/bulk")
        assert "/operator/runbooks/queue-grows" in first.text
        assert first.message["References"] == second.message["References"]
        assert first.message["Message-ID"] != second.message["Message-ID"]


async def test_a_repeated_attempt_has_the_same_message_id(client: httpx.AsyncClient) -> None:
    with mail() as (server, environ):
        made = receiver(client, **environ)
        tried = msgspec.structs.replace(
            ALERT, deliveries={"email": AlertDelivery(tries=3, error="451")}
        )
        await made.send(notice("firing"))
        await made.send(notice("firing", tried))
        first, second = server.mails
        assert first.message["Message-ID"] == second.message["Message-ID"]


async def test_a_mail_is_sent_encrypted_after_a_check_of_the_certificate(
    client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_for = certificate.make(tmp_path, "localhost")
    with mail(certificate=made_for) as (server, environ):
        made = receiver(client, **environ)
        with pytest.raises(ReceiverError, match="certificate"):
            await made.send(notice("firing"))
        assert not server.mails
        monkeypatch.setenv("SSL_CERT_FILE", str(made_for.certificate))
        await made.send(notice("firing"))
        assert server.mails[0].encrypted


async def test_a_failure_says_why_and_never_names_the_secret_address(
    client: httpx.AsyncClient,
) -> None:
    with slack() as server:
        made = receiver(client, SLACK_WEBHOOK_URL=server.url)
        server.fail(RATE_LIMITED)
        with pytest.raises(ReceiverError, match="429 rate_limited") as limited:
            await made.send(notice("firing"))
        assert limited.value.wait_s == 1
        server.fail(SLACK_OUTAGE)
        with pytest.raises(ReceiverError, match="503 service_unavailable"):
            await made.send(notice("firing"))
        server.stop()
        async with open_client() as other:  # the first one has an open connection
            made = receiver(other, SLACK_WEBHOOK_URL=server.url)
            with pytest.raises(ReceiverError, match="not reachable") as away:
                await made.send(notice("firing"))
        assert "webhook-of-the-tests" not in str(away.value)
        assert made.to == f"127.0.0.1:{server.port}"


async def test_a_refusal_of_pagerduty_and_of_the_mail_server_says_why(
    client: httpx.AsyncClient,
) -> None:
    with pagerduty() as server:
        made = receiver(client, PAGERDUTY_ROUTING_KEY="0" * 32, PAGERDUTY_URL=server.url)
        with pytest.raises(ReceiverError, match=r"400 .*routing_key"):
            await made.send(notice("firing"))
        server.fail(PAGERDUTY_OUTAGE)
        with pytest.raises(ReceiverError, match="500"):
            await made.send(notice("firing"))
    with mail() as (mails, environ):
        mails.fail(MAIL_OUTAGE)
        made = receiver(client, **environ)
        with pytest.raises(ReceiverError, match=r"451 4\.3\.0 Mail server temporarily rejected"):
            await made.send(notice("firing"))
        wrong = receiver(client, **environ | {"SMTP_PASSWORD": "not-the-password"})
        with pytest.raises(ReceiverError, match="535") as refused:
            await wrong.send(notice("firing"))
        assert "not-the-password" not in str(refused.value)
        mails.stop()
        with pytest.raises(ReceiverError):
            await made.send(notice("firing"))


async def test_the_test_of_pagerduty_leaves_no_incident_open(client: httpx.AsyncClient) -> None:
    with pagerduty() as server:
        made = receiver(client, PAGERDUTY_ROUTING_KEY=server.routing_key, PAGERDUTY_URL=server.url)
        await made.send(notice("test"))
        [incident] = server.incidents
        assert (incident.severity, incident.open) == ("info", False)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FLORIN_ALERT_EMAIL": "a@b.example"}, "SMTP_HOST: is missing"),
        ({"FLORIN_ALERT_EMAIL": "nonsense", "SMTP_HOST": "h"}, "nonsense is no e-mail address"),
        ({"SMTP_USER": "u", "SMTP_HOST": "h"}, "SMTP_PASSWORD: is missing, SMTP_USER needs it"),
        ({"SLACK_WEBHOOK_URL": "hooks.slack.com/x"}, "SLACK_WEBHOOK_URL: must begin with https"),
        ({"PAGERDUTY_URL": "events"}, "PAGERDUTY_URL: must begin with https"),
        (
            {"SMTP_HOST": "mail.example.com", "SMTP_USER": "u", "SMTP_PASSWORD": "p",
             "SMTP_TLS": "off"},
            "SMTP_TLS: is off, and the password would be sent unencrypted",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        read_receivers(environ)


def test_the_other_settings_are_not_needed() -> None:
    assert read_receivers({"JWT_SECRET": "short", "DATABASE_URL": "mysql://x"}).alert_email == ()
