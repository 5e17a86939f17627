"""Settings: the environment with which alerts go to the receivers of a test."""

from tests.support.receivers.pagerduty import PagerDuty
from tests.support.receivers.slack import Slack
from tests.support.receivers.smtp import PASSWORD, USER, MailServer


def receiver_settings(mails: MailServer, chat: Slack, pager: PagerDuty) -> dict[str, str]:
    """All three receivers; the mail server without TLS."""
    return {
        "FLORIN_ALERT_EMAIL": "oncall@example.com",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mails.port),
        "SMTP_TLS": "off",
        "SMTP_USER": USER,
        "SMTP_PASSWORD": PASSWORD,
        "SLACK_WEBHOOK_URL": chat.url,
        "PAGERDUTY_ROUTING_KEY": pager.routing_key,
        "PAGERDUTY_URL": pager.url,
    }
