"""E-mail: sends messages by SMTP, over connections that are kept open for a while."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import localtime

import aiosmtplib

from florin.deliveries.content import LOGO_ID, MessageContent, render_html, render_text
from florin.kit.settings import Settings

WITHIN_S = 20.0  # for one message, connecting included
_IDLE_S = 20.0  # after this time a server may have closed the connection
_FRESH_S = 1.0  # it is asked first whether a connection that was unused for longer is still open
_PERMANENT = 500
_REFUSED_SIGN_IN = (530, 534, 535, 538)


class MessageNotSent(Exception):
    """A message was not sent. `again`: it may be tried again; `bounced`: the server refused its
    recipient; `unknown`: the server may have taken it.
    """

    def __init__(
        self, reason: str, *, again: bool = True, bounced: bool = False, unknown: bool = False
    ) -> None:
        super().__init__(reason)
        self.again, self.bounced, self.unknown = again, bounced, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Where a message goes. `message_id` is the same for each attempt to send it."""

    recipient: str
    message_id: str


@dataclass(slots=True)
class SmtpSender:
    """Sends through the server of the settings. Needs SMTP_HOST."""

    settings: Settings
    _idle: list[tuple[float, aiosmtplib.SMTP]] = field(
        default_factory=list[tuple[float, aiosmtplib.SMTP]]
    )

    @property
    def sender_address(self) -> str:
        return self.settings.smtp_from or "florin@localhost"

    async def send(self, content: MessageContent, envelope: Envelope) -> None:
        """Raises MessageNotSent."""
        message = self.compose(content, envelope)
        begun = False
        try:
            async with asyncio.timeout(WITHIN_S), self._connection() as smtp:
                begun = True
                await smtp.send_message(
                    message, sender=self.sender_address, recipients=[envelope.recipient]
                )
        except TimeoutError:
            raise MessageNotSent(
                f"the mail server did not answer within {WITHIN_S:.0f} s", unknown=begun
            ) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            raise _refused(first.code, first.message, recipient=True) from None
        except aiosmtplib.SMTPNotSupported as error:
            raise MessageNotSent(f"the mail server cannot take it: {error}", again=False) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, error.message) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            reason = f"the mail server is not reachable ({type(error).__name__})"
            raise MessageNotSent(reason, unknown=begun) from None

    def compose(self, content: MessageContent, envelope: Envelope) -> EmailMessage:
        """Make the message: plain text, the same as HTML, and its attachment."""
        plain = envelope.recipient.isascii()
        message = EmailMessage(policy=SMTP if plain else SMTPUTF8)
        message["Subject"] = " ".join(content.subject.split())
        # RFC 5322 names with line breaks cannot exist: names are plain text, one line.
        message["From"] = Address(content.sender, addr_spec=self.sender_address)
        message["To"] = envelope.recipient
        message["Date"] = localtime()
        domain = self.sender_address.rpartition("@")[2]
        message["Message-ID"] = f"<{envelope.message_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message["Content-Language"] = content.locale
        message.set_content(render_text(content))
        message.add_alternative(render_html(content), subtype="html")
        look = content.look
        if look.logo is not None and look.logo_kind is not None:
            # Inside the message: nothing is fetched when it is opened, so no one learns of that.
            html = message.get_body(("html",))
            assert isinstance(html, EmailMessage)
            main, _, kind = look.logo_kind.partition("/")
            html.add_related(look.logo, main, kind, cid=f"<{LOGO_ID}>", disposition="inline")
        if content.attachment is not None:
            message.add_attachment(
                content.attachment.content, "application", "pdf", filename=content.attachment.name
            )
        return message

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[aiosmtplib.SMTP]:
        """A connection that is signed in; it is kept only after a message was taken."""
        smtp = await self._take_idle() or await self._connect()
        try:
            yield smtp
        except BaseException:
            smtp.close()
            raise
        self._idle.append((time.monotonic(), smtp))

    async def _take_idle(self) -> aiosmtplib.SMTP | None:
        while self._idle:
            since, smtp = self._idle.pop()
            unused_s = time.monotonic() - since
            try:
                if unused_s < _IDLE_S:
                    if unused_s > _FRESH_S:
                        await smtp.noop()
                    return smtp
            except (aiosmtplib.SMTPException, OSError):
                pass  # the server closed it
            smtp.close()
        return None

    async def _connect(self) -> aiosmtplib.SMTP:
        chosen = self.settings
        password = chosen.smtp_password.get_secret_value() if chosen.smtp_password else None
        smtp = aiosmtplib.SMTP(
            hostname=chosen.smtp_host,
            port=chosen.smtp_port,
            username=chosen.smtp_user,
            password=password,
            use_tls=chosen.smtp_tls == "tls",
            start_tls=chosen.smtp_tls == "starttls",
            timeout=WITHIN_S,
        )
        await smtp.connect()
        return smtp


def _refused(code: int, text: str, *, recipient: bool = False) -> MessageNotSent:
    """What an answer of the server means. A refused sign-in is an error of the settings: the
    message waits until they are right.
    """
    permanent = code >= _PERMANENT and code not in _REFUSED_SIGN_IN
    reason = f"the mail server answered {code} {' '.join(text.split())}"
    return MessageNotSent(reason, again=not permanent, bounced=permanent and recipient)
