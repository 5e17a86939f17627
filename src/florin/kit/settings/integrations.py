"""Integrations: payments, mail, messages, alerts, traces. Each is off until it is given."""

from typing import Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import StripeKey, WebhookSecret, WebUrl, variable


class PaymentSettings(BaseSettings):
    """Payments"""

    stripe_secret_key: StripeKey | None = variable(
        "STRIPE_SECRET_KEY", "Takes payments by Stripe.", None
    )
    stripe_publishable_key: str | None = variable(
        "STRIPE_PUBLISHABLE_KEY",
        "What Stripe's page is opened with.",
        None,
        pattern=r"^pk_(live|test)_\S+$",
    )
    stripe_webhook_secret: WebhookSecret | None = variable(
        "STRIPE_WEBHOOK_SECRET", "Tells Stripe's events from forged ones (`whsec_…`).", None
    )
    paypal_client_id: str | None = variable("PAYPAL_CLIENT_ID", "Takes payments by PayPal.", None)
    paypal_client_secret: SecretStr | None = variable(
        "PAYPAL_CLIENT_SECRET", "Belongs to the client id.", None
    )
    paypal_webhook_id: str | None = variable(
        "PAYPAL_WEBHOOK_ID", "The webhook whose events are believed.", None
    )
    paypal_mode: Literal["sandbox", "live"] = variable(
        "PAYPAL_MODE", "Which PayPal: play money or real money.", "sandbox"
    )


class MessageSettings(BaseSettings):
    """Mail and text messages"""

    smtp_host: str | None = variable("SMTP_HOST", "Sends mail.", None, example="smtp.example.com")
    smtp_port: int = variable("SMTP_PORT", "Its port.", 587, ge=1, le=65535)
    smtp_user: str | None = variable("SMTP_USER", "Who signs in there.", None)
    smtp_password: SecretStr | None = variable("SMTP_PASSWORD", "With which password.", None)
    smtp_security: Literal["starttls", "tls", "none"] = variable(
        "SMTP_SECURITY",
        "How the connection is secured; `none` for a server on this machine.",
        "starttls",
    )
    smtp_from: str | None = variable(
        "SMTP_FROM", "Who mail is from.", None, example="Florin <cards@example.com>"
    )
    twilio_account_sid: str | None = variable(
        "TWILIO_ACCOUNT_SID", "Sends text messages by Twilio.", None
    )
    twilio_auth_token: SecretStr | None = variable(
        "TWILIO_AUTH_TOKEN", "Belongs to the account.", None
    )
    twilio_from: str | None = variable(
        "TWILIO_FROM", "The number they are from.", None, example="+15005550006"
    )


class AlertSettings(BaseSettings):
    """Alerts, errors and traces"""

    alert_email: str | None = variable("FLORIN_ALERT_EMAIL", "Who is mailed on an alert.", None)
    slack_webhook_url: SecretStr | None = variable(
        "SLACK_WEBHOOK_URL", "A channel that is told.", None
    )
    pagerduty_routing_key: SecretStr | None = variable(
        "PAGERDUTY_ROUTING_KEY", "A service that is paged.", None
    )
    sentry_dsn: SecretStr | None = variable("SENTRY_DSN", "Where bugs are reported.", None)
    otel_endpoint: WebUrl | None = variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "Where traces go (OTLP over HTTP).", None
    )
