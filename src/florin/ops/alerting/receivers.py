"""Receivers: e-mail (SMTP), Slack (incoming webhook) and PagerDuty (Events API v2)."""

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import aiosmtplib
import httpx

from florin.kit.settings.settings import ReceiverSettings
from florin.ops.alerting.alert_states import AlertDelivery
from florin.ops.alerting.notice import ChangeNotice, Notice, Receiver, ReceiverError

_WITHIN_S = 10.0
_SUMMARY_MAX = 1024  # characters; PagerDuty refuses more
_EVENTS_PATH, _CHANGES_PATH = "/v2/enqueue", "/v2/change/enqueue"  # of the Events API v2
_SEVERITIES = {"page": "critical", "ticket": "warning", "test": "info"}
_COLOURS = {True: ":white_check_mark:", False: ":rotating_light:"}


@dataclass(frozen=True, slots=True)
class EmailReceiver:
    """Sends plain text; the messages of one occurrence form a thread."""

    settings: ReceiverSettings
    name: str = "email"

    @property
    def to(self) -> str:
        return ", ".join(self.settings.alert_email)

    async def send(self, notice: Notice) -> None:
        await self._deliver(self._message(notice))

    async def send_change(self, notice: ChangeNotice) -> None:
        message = self._new_message(f"{notice.title} ({notice.place})")
        message["Message-ID"] = _message_id(f"{notice.place} {notice.event.key}")
        why = f"{notice.why}\n\n" if notice.why else ""
        message.set_content(
            f"{notice.title}\n\n{why}{notice.times}\nInstallation: {notice.place}\n"
            f"State of the fleet: {notice.page}\n"
        )
        await self._deliver(message)

    async def _deliver(self, message: EmailMessage) -> None:
        chosen = self.settings
        password = chosen.smtp_password.get_secret_value() if chosen.smtp_password else None
        try:
            await aiosmtplib.send(
                message,
                hostname=chosen.smtp_host,
                port=chosen.smtp_port,
                username=chosen.smtp_user,
                password=password,
                use_tls=chosen.smtp_tls == "tls",
                start_tls=chosen.smtp_tls == "starttls",
                timeout=_WITHIN_S,
            )
        except aiosmtplib.SMTPResponseException as error:
            raise ReceiverError(f"{error.code} {error.message}"[:200]) from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise ReceiverError(f"{type(error).__name__}: {error}"[:200]) from None

    def _new_message(self, subject: str) -> EmailMessage:
        message = EmailMessage()
        # One line: a summary has the name of a folder or a queue in it.
        message["Subject"] = " ".join(subject.split())
        message["From"] = self.settings.smtp_from or self.settings.alert_email[0]
        message["To"] = self.to
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Auto-Submitted"] = "auto-generated"
        return message

    def _message(self, notice: Notice) -> EmailMessage:
        alert = notice.alert
        message = self._new_message(f"{notice.title} ({notice.place})")
        first = f"{notice.place} {alert.key} {alert.since}"
        # The same for each attempt to send it: a mail server that has it already can drop it.
        own = f"{first} {notice.kind} {alert.deliveries.get(self.name, AlertDelivery()).repeats}"
        message["Message-ID"] = _message_id(own)
        message["References"] = _message_id(first)
        message.set_content(
            f"{alert.summary}.\n\n{notice.times}\nInstallation: {notice.place}\n"
            f"Severity: {alert.severity}\n\nWhat to do: {notice.runbook}\n"
            f"State of the fleet: {notice.page}\n"
        )
        return message


@dataclass(frozen=True, slots=True)
class SlackReceiver:
    url: str
    client: httpx.AsyncClient
    name: str = "slack"

    @property
    def to(self) -> str:
        return urlsplit(self.url).netloc

    async def send(self, notice: Notice) -> None:
        alert = notice.alert
        text = (
            f"{_COLOURS[notice.over]} *{_escape(notice.title)}*\n{notice.times} ·"
            f" {_escape(notice.place)} · {alert.severity}\n"
            f"<{notice.runbook}|Runbook {alert.runbook}> · <{notice.page}|Operator page>"
        )
        await _post(self.client, self.url, {"text": text}, accepted=200)

    async def send_change(self, notice: ChangeNotice) -> None:
        mark = ":rocket:" if notice.well else ":leftwards_arrow_with_hook:"
        why = f"{_escape(notice.why)}\n" if notice.why else ""
        text = (
            f"{mark} *{_escape(notice.title)}*\n{why}{notice.times} · {_escape(notice.place)}\n"
            f"<{notice.page}|Operator page>"
        )
        await _post(self.client, self.url, {"text": text}, accepted=200)


@dataclass(frozen=True, slots=True)
class PagerDutyReceiver:
    """One incident for each alert: the key of all its events is the same. Deployments are change
    events, which open no incident: PagerDuty shows them next to the incidents that follow.
    """

    url: str
    routing_key: str
    client: httpx.AsyncClient
    name: str = "pagerduty"

    @property
    def to(self) -> str:
        return urlsplit(self.url).netloc

    async def send(self, notice: Notice) -> None:
        if notice.kind == "test":  # an incident that ends at once
            await self._send(notice, "trigger")
            await self._send(notice, "resolve")
        else:
            await self._send(notice, "resolve" if notice.over else "trigger")

    async def send_change(self, notice: ChangeNotice) -> None:
        """https://developer.pagerduty.com/docs/send-change-event; other services have none."""
        if not self.url.endswith(_EVENTS_PATH):
            return
        record = notice.event.record
        event = {
            "routing_key": self.routing_key,
            "payload": {
                "summary": f"{notice.title} ({notice.place})"[:_SUMMARY_MAX],
                "timestamp": record.at,
                "source": notice.place,
                "custom_details": {"why": notice.why, **(record.details or {})},
            },
            "links": [{"href": notice.page, "text": "Operator page"}],
        }
        url = self.url.removesuffix(_EVENTS_PATH) + _CHANGES_PATH
        await _post(self.client, url, event, accepted=202)

    async def _send(self, notice: Notice, action: str) -> None:
        alert = notice.alert
        event: dict[str, Any] = {
            "routing_key": self.routing_key,
            "event_action": action,
            "dedup_key": f"florin {sha256(f'{notice.place} {alert.key}'.encode()).hexdigest()}",
        }
        if action == "trigger":
            kind = notice.kind if notice.kind == "test" else alert.severity
            event |= {
                "client": "Florin",
                "client_url": notice.page,
                "links": [{"href": notice.runbook, "text": f"Runbook {alert.runbook}"}],
                "payload": {
                    "summary": f"{alert.key}: {alert.summary} ({notice.place})"[:_SUMMARY_MAX],
                    "source": notice.place,
                    "severity": _SEVERITIES[kind],
                    "class": alert.name,
                    "custom_details": {"since": notice.times, "label": alert.label},
                },
            }
        await _post(self.client, self.url, event, accepted=202)


def make_receivers(settings: ReceiverSettings, client: httpx.AsyncClient) -> list[Receiver]:
    """Return the receivers that the settings name."""
    receivers: list[Receiver] = []
    if settings.alert_email:
        receivers.append(EmailReceiver(settings))
    if settings.slack_webhook_url is not None:
        receivers.append(SlackReceiver(settings.slack_webhook_url.get_secret_value(), client))
    if settings.pagerduty_routing_key is not None:
        key = settings.pagerduty_routing_key.get_secret_value()
        receivers.append(PagerDutyReceiver(settings.pagerduty_url, key, client))
    return receivers


def open_client() -> httpx.AsyncClient:
    """Return the client of Slack and PagerDuty; the operator chose their addresses."""
    return httpx.AsyncClient(timeout=_WITHIN_S, follow_redirects=False)


async def _post(client: httpx.AsyncClient, url: str, body: object, *, accepted: int) -> None:
    """Raises ReceiverError; its message never has the address, which is a secret of Slack."""
    try:
        answer = await client.post(url, json=body)
    except httpx.TimeoutException:
        raise ReceiverError(f"no answer within {_WITHIN_S:.0f} s") from None
    except httpx.HTTPError as error:
        raise ReceiverError(f"not reachable ({type(error).__name__})") from None
    if answer.status_code != accepted:
        reason = " ".join(answer.text.split())[:120]
        wait = answer.headers.get("retry-after", "")
        raise ReceiverError(
            f"{answer.status_code} {reason}", wait_s=float(wait) if wait.isdecimal() else 0.0
        )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _message_id(text: str) -> str:
    return f"<{sha256(text.encode()).hexdigest()[:32]}@{socket.gethostname()}>"
