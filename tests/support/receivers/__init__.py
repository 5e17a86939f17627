"""Receivers of alerts for tests: servers that speak SMTP, Slack's and PagerDuty's protocols."""

from tests.support.receivers.pagerduty import Incident, PagerDuty, pagerduty
from tests.support.receivers.slack import Slack, SlackMessage, slack
from tests.support.receivers.smtp import Mail, MailServer, mail_server

__all__ = [
    "Incident",
    "Mail",
    "MailServer",
    "PagerDuty",
    "Slack",
    "SlackMessage",
    "mail_server",
    "pagerduty",
    "slack",
]
