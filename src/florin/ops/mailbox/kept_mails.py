"""Kept mails: the directory of the mailbox, one file per mail, the newest 500 of them.

The mailbox process writes; the operator page and `florin mailbox` read, also while it does not run.
A file is the message as it came, after the envelope as a final mail server writes it (RFC 5321,
4.4; RFC 9228): `Return-Path` and a `Delivered-To` for each recipient.
"""

import email
import email.policy
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import msgspec

from florin.ops.fleet.home import write_file

KEPT_MOST = 500
_SUFFIX = ".eml"
_ID = re.compile(r"[0-9a-f]{16}")  # nanoseconds since 1970
_LINE_BREAKS = "\n\t"


class KeptMail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail. Texts have no control characters: a terminal may show them."""

    id: str
    at: str  # RFC 3339, UTC: when it arrived
    sender: str
    recipients: list[str]
    subject: str
    text: str  # empty in a list
    attachments: list[str]  # file names; empty in a list
    has_html: bool


class MailFolder:
    """The directory of the kept mails. One process writes."""

    def __init__(self, path: Path, most: int = KEPT_MOST) -> None:
        self._path, self._most = path, most

    def keep_mail(self, sender: str, recipients: Sequence[str], message: bytes) -> str:
        """Write a mail; return its id. Raises OperatorError when it cannot be written."""
        names = self._ids()
        at = max(time.time_ns(), int(names[0], 16) + 1 if names else 0)
        name = f"{at:016x}"
        envelope = [f"Return-Path: <{sender}>", *(f"Delivered-To: {to}" for to in recipients)]
        head = "".join(f"{line}\r\n" for line in envelope).encode()
        write_file(self._file(name), head + message)
        for old in names[self._most - 1 :]:
            self._file(old).unlink(missing_ok=True)
        return name

    def list_mails(self, most: int) -> list[KeptMail]:
        """Return the newest mails, the newest first, without their texts. Raises OSError."""
        return [mail for name in self._ids()[:most] if (mail := self._read(name, whole=False))]

    def find_mail(self, name: str) -> KeptMail | None:
        """Return a whole mail; None if there is none of this id. Raises OSError."""
        return self._read(name, whole=True)

    def find_html(self, name: str) -> str | None:
        """Return the HTML of a mail; None if it has none. Raises OSError."""
        message = self._message(name)
        part = None if message is None else message.get_body(("html",))
        return None if part is None else str(part.get_content())

    def _ids(self) -> list[str]:
        """Return the ids, the newest first."""
        found = (path.name.removesuffix(_SUFFIX) for path in self._path.glob(f"*{_SUFFIX}"))
        return sorted((name for name in found if _ID.fullmatch(name)), reverse=True)

    def _file(self, name: str) -> Path:
        return self._path / f"{name}{_SUFFIX}"

    def _message(self, name: str) -> EmailMessage | None:
        if not _ID.fullmatch(name):
            return None
        try:
            content = self._file(name).read_bytes()
        except FileNotFoundError:  # never there, or too old
            return None
        return email.message_from_bytes(content, policy=email.policy.SMTPUTF8)

    def _read(self, name: str, *, whole: bool) -> KeptMail | None:
        message = self._message(name)
        if message is None:
            return None
        plain = message.get_body(("plain",))
        at = datetime.fromtimestamp(int(name, 16) / 1e9, UTC)
        return KeptMail(
            id=name,
            at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            sender=_line(message["from"] or message["return-path"]),
            recipients=[_line(each) for each in message.get_all("delivered-to", [])],
            subject=_line(message["subject"]),
            text=_printable(str(plain.get_content())) if whole and plain is not None else "",
            attachments=[_line(part.get_filename()) for part in message.iter_attachments()]
            if whole
            else [],
            has_html=message.get_body(("html",)) is not None,
        )


def _line(value: object) -> str:
    return " ".join(_printable(str(value or "")).split())


def _printable(text: str) -> str:
    """Remove what could move the cursor or change the colours of a terminal."""
    text = text.replace("\r\n", "\n")
    return "".join(each for each in text if each.isprintable() or each in _LINE_BREAKS)
