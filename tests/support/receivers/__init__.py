"""Receivers of alerts for tests: servers that speak SMTP, Slack's and PagerDuty's protocols."""

from tests.support.receivers.heartbeat import Heartbeat, heartbeat
from tests.support.receivers.pagerduty import Incident, PagerDuty, pagerduty
from tests.support.receivers.slack import Slack, SlackMessage, slack
from tests.support.receivers.smtp import Mail, MailServer, mail_server

__all__ = [
    "Heartbeat",
    "Incident",
    "Mail",
    "MailServer",
    "PagerDuty",
    "Slack",
    "SlackMessage",
    "heartbeat",
    "mail_server",
    "pagerduty",
    "slack",
]
