"""Main: the mailbox process: an SMTP server that takes every mail and sends none."""

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

from florin.kit.observability import logging
from florin.kit.settings import InvalidSettings, read_variable
from florin.ops.mailbox.kept_mails import MailFolder
from florin.ops.system.console import OperatorError

_LOOPBACK = "127.0.0.1"
SIZE_MAX = 10 * 2**20  # bytes of one mail
_log = logging.get_logger()


class _Receiver:
    """Keeps each mail; aiosmtpd calls it by the names of SMTP's commands."""

    def __init__(self, folder: MailFolder) -> None:
        self._folder = folder

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Envelope
    ) -> str:
        del server, session
        content = envelope.content
        assert isinstance(content, bytes)
        recipients = [str(each) for each in envelope.rcpt_tos]
        try:
            name = self._folder.keep_mail(envelope.mail_from or "", recipients, content)
        except OperatorError as error:
            _log.error("a mail was not kept", detail=str(error))
            return "452 4.3.1 Insufficient storage"
        _log.info("a mail was kept", mail=name, recipients=len(recipients), bytes=len(content))
        return f"250 2.0.0 kept as {name}"


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        environment = read_variable("FLORIN_ENV") or "production"
        folder, port = read_variable("FLORIN_MAILBOX"), int(read_variable("SMTP_PORT") or 0)
        host = read_variable("FLORIN_MAILBOX_HOST") or _LOOPBACK
    except (InvalidSettings, ValueError) as error:
        return _not_started(str(error))
    logging.configure_logging(
        level=logging.find_level(read_variable("FLORIN_LOG_LEVEL") or "info"),
        instance=read_variable("FLORIN_INSTANCE") or "mailbox",
    )
    if environment == "production":
        return _not_started(
            "FLORIN_ENV is production: mails would be kept instead of sent; set SMTP_HOST to the"
            " mail server"
        )
    if folder is None:
        return _not_started("FLORIN_MAILBOX is missing: the directory of the kept mails")
    try:
        listener = socket.create_server((host, port), backlog=64)
    except OSError as error:
        return _not_started(f"SMTP_PORT: cannot listen on port {port} of {host}: {error.strerror}")
    asyncio.run(_serve(MailFolder(Path(folder)), listener))
    _log.info("stopped")
    return 0


def _not_started(detail: str) -> int:
    _log.error("not started", detail=detail)
    return 1


async def _serve(folder: MailFolder, listener: socket.socket) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def connection() -> SMTP:
        return SMTP(
            _Receiver(folder),
            data_size_limit=SIZE_MAX,
            enable_SMTPUTF8=True,
            hostname="mailbox.localhost",
            ident="Florin mailbox",
            loop=loop,
        )

    server = await loop.create_server(connection, sock=listener)
    host, port = listener.getsockname()[:2]
    _log.info("starting", host=host, port=port, pid=os.getpid())
    await stop.wait()
    server.close()
