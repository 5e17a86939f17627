"""SMTP: a mail server for tests (aiosmtpd) with sign-in and, if asked for, STARTTLS."""

import asyncio
import email
import email.policy
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.support.certificate import Certificate
from tests.support.ports import free_port
from tests.support.stream_server import stop_listening

USER, PASSWORD = "alerts@tests.example", "a-mail-password-of-the-tests"
OUTAGE = "451 4.3.0 Mail server temporarily rejected message"
REJECTED = "550 5.1.1 Recipient address rejected"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message; `at` is the monotonic time of its arrival in seconds."""

    at: float
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    encrypted: bool

    @property
    def subject(self) -> str:
        return str(self.message["subject"])

    @property
    def text(self) -> str:
        """The bodies of all its parts."""
        parts = [part for part in self.message.walk() if not part.is_multipart()]
        return "\n".join(str(part.get_content()) for part in parts)


class _Controller(Controller):
    """Knows its connections: aiosmtpd closes its loop while some are still open."""

    made: list[Any]

    def factory(self) -> Any:
        made = super().factory()
        self.made.append(made)
        return made

    async def end_connections(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        await stop_listening(self.server)
        for made in self.made:
            if made.transport is not None:
                made.transport.abort()
        await asyncio.sleep(0)  # in which they are closed


class MailServer:
    """The server; it takes mail only after a sign-in as USER with PASSWORD.

    With a certificate it demands STARTTLS first. `fail` refuses the next messages; `stop` and
    `start` take the server away and bring it back on the same port.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.port = free_port()
        self.attempts = 0
        self.mails: list[Mail] = []
        self._certificate = certificate
        self.answers_after_s = 0.0  # after it took a message
        self.unknown: set[str] = set()  # recipients that it refuses
        self.failing = 0.0  # the share of messages that it refuses for now, or takes and goes away
        self._chance = random.Random(1)
        self._failures: deque[str] = deque()
        self._changed = threading.Condition()
        self._controller: Any = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def fail(self, answer: str = OUTAGE, times: int = 1) -> None:
        with self._changed:
            self._failures.extend([answer] * times)

    def start(self) -> None:
        context = None
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=_authenticate,
            auth_exclude_mechanism=["LOGIN"],  # its prompts are not those of other servers
            auth_require_tls=context is not None,
            tls_context=context,
            require_starttls=context is not None,
        )
        self._controller.made = []
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            ending = asyncio.run_coroutine_threadsafe(
                self._controller.end_connections(), self._controller.loop
            )
            ending.result(10)
            self._controller.stop()
            self._controller = None

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        del server
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        del server, session
        if address in self.unknown:
            return REJECTED
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        with self._changed:
            self.attempts += 1
            if self._failures:
                return self._failures.popleft()
            chance = self._chance.random()
            if chance < self.failing / 2:
                return OUTAGE
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            recipients = tuple(envelope.rcpt_tos)
            encrypted = session.ssl is not None
            self.mails.append(
                Mail(time.monotonic(), envelope.mail_from, recipients, message, encrypted)
            )
            self._changed.notify_all()
        if chance < self.failing:
            server.transport.abort()  # the message was taken, and the answer is lost
        await asyncio.sleep(self.answers_after_s)
        return "250 2.0.0 OK"

    def wait_for(self, words: str, within_s: float) -> Mail:
        """Wait for a mail whose subject contains `words`. Raises AssertionError."""

        def found() -> list[Mail]:
            return [each for each in self.mails if words in each.subject]

        with self._changed:
            arrived = self._changed.wait_for(lambda: bool(found()), within_s)
        assert arrived, (words, [each.subject for each in self.mails])
        return found()[0]


def _authenticate(
    server: Any, session: Any, envelope: Any, mechanism: str, given: Any
) -> AuthResult:
    del server, session, envelope, mechanism
    right = isinstance(given, LoginPassword) and (given.login, given.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=right, handled=False)


@contextmanager
def mail_server(certificate: Certificate | None = None) -> Generator[MailServer]:
    made = MailServer(certificate)
    made.start()
    try:
        yield made
    finally:
        made.stop()
