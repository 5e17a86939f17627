"""Alerts: the mail server, and the receivers of alerts that the fleet sends itself."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from florin.kit.email_address import is_email
from florin.kit.settings.variable import WebUrl, variable

_SECRET_MIN = 24  # bytes, of the standard


def _addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    given = tuple(each.strip() for each in value.split(",") if each.strip())
    for each in given:
        if not is_email(each):
            raise ValueError(f"{each} is no e-mail address")
    return given


def _address(value: str) -> str:
    if not is_email(value):
        raise ValueError(f"{value} is no e-mail address")
    return value


def _slack(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and not text.startswith(("https://", "http://")):
        raise ValueError("must begin with https://")
    return value


def _webhook_secret(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str):
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = b""
        if not text.startswith("whsec_") or len(key) < _SECRET_MIN:
            raise ValueError(
                f"must be whsec_ and at least {_SECRET_MIN} bytes in base64; make one with"
                ' echo "whsec_$(openssl rand -base64 32)"'
            )
    return value


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_addresses)]


class MailSettings(BaseSettings):
    """The mail server"""

    smtp_host: str | None = variable(
        "SMTP_HOST", "Host of the mail server.", None, example="smtp.example.com"
    )
    smtp_port: int = variable("SMTP_PORT", "Its port.", 587, ge=1, le=65535)
    smtp_tls: Literal["starttls", "tls", "off"] = variable(
        "SMTP_TLS",
        "How the connection is encrypted: after a command (port 587), from the start (port 465), or"
        " not at all.",
        "starttls",
    )
    smtp_user: str | None = variable("SMTP_USER", "User at the mail server.", None)
    smtp_password: SecretStr | None = variable("SMTP_PASSWORD", "Password of that user.", None)
    smtp_from: Annotated[str, BeforeValidator(_address)] | None = variable(
        "SMTP_FROM", "Sender of all e-mail.", None, example="florin@example.com"
    )
    mail_report_secret: Annotated[SecretStr, BeforeValidator(_webhook_secret)] | None = variable(
        "FLORIN_MAIL_REPORT_SECRET",
        "Secret with which the mail server signs its reports of bounces and complaints to"
        " `/api/v1/hooks/mail` (Standard Webhooks): `whsec_` and at least 24 random bytes in"
        " base64. Without it that address does not exist.",
        None,
    )


class AlertSettings(BaseSettings):
    """Alerts that the fleet sends itself (without Prometheus)"""

    alert_email: Addresses = variable(
        "FLORIN_ALERT_EMAIL",
        "Addresses that get alerts, with commas between; needs SMTP_HOST.",
        (),
        example="oncall@example.com",
    )
    slack_webhook_url: Annotated[SecretStr, BeforeValidator(_slack)] | None = variable(
        "SLACK_WEBHOOK_URL", "Incoming webhook of the Slack channel that gets alerts.", None
    )
    pagerduty_routing_key: SecretStr | None = variable(
        "PAGERDUTY_ROUTING_KEY", "Integration key (Events API v2) that gets alerts that page.", None
    )
    pagerduty_url: WebUrl = variable(
        "PAGERDUTY_URL",
        "Full address of the Events API v2; another one for another region or service.",
        "https://events.pagerduty.com/v2/enqueue",
    )
