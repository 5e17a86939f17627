"""A mail server, and the settings with which workers send by it."""

from collections.abc import Iterator

import pytest

from tests.support.receivers import MailServer, mail_server
from tests.support.receivers.smtp import PASSWORD, USER

PUBLIC_URL = "https://cards.shop.example"


def mail_settings(mails: MailServer) -> dict[str, str]:
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mails.port),
        "SMTP_TLS": "off",
        "SMTP_USER": USER,
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_FROM": "cards@shop.example",
        "FLORIN_PUBLIC_URL": PUBLIC_URL,
    }


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running
