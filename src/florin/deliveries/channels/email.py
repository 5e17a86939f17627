"""E-mail: sends messages by SMTP, over connections that are kept open for a while."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiosmtplib

from florin.deliveries.channels.mime import Envelope, HeaderNotValid, write_message
from florin.deliveries.content import MessageContent
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
        try:
            message = write_message(content, envelope, sender=self.sender_address)
        except HeaderNotValid:  # with the same texts it cannot be written later either
            raise MessageNotSent("its headers cannot be written", again=False) from None
        begun = False
        try:
            async with asyncio.timeout(WITHIN_S), self._connection() as smtp:
                options = await _needed_options(smtp, envelope.recipient)
                begun = True
                await smtp.sendmail(
                    self.sender_address, [envelope.recipient], message, mail_options=options
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


async def _needed_options(smtp: aiosmtplib.SMTP, recipient: str) -> list[str]:
    """Raises SMTPNotSupported."""
    if recipient.isascii():
        return []
    if smtp.is_ehlo_or_helo_needed:
        await smtp.ehlo()
    if not smtp.supports_extension("smtputf8"):
        raise aiosmtplib.SMTPNotSupported("an address has characters that need SMTPUTF8")
    return ["SMTPUTF8"]


def _refused(code: int, text: str, *, recipient: bool = False) -> MessageNotSent:
    """What an answer of the server means. A refused sign-in is an error of the settings: the
    message waits until they are right.
    """
    permanent = code >= _PERMANENT and code not in _REFUSED_SIGN_IN
    reason = f"the mail server answered {code} {' '.join(text.split())}"
    return MessageNotSent(reason, again=not permanent, bounced=permanent and recipient)
