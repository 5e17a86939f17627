"""MIME: a message as the bytes that go to a mail server (RFC 5322, 2045 to 2047).

Written without `email.message.EmailMessage`, which parses the headers of each part again and again:
that was half of the work for a message. Headers with text of others still go through that package,
which encodes and folds them. Bodies are quoted-printable or base64: every server takes them (no
8BITMIME), and no line is too long.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from email.header import Header
from email.headerregistry import Address
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, localtime
from functools import lru_cache

from florin.deliveries.content import (
    LOGO_ID,
    Attachment,
    MessageContent,
    render_html,
    render_text,
)
from florin.deliveries.look import MerchantLook

_LINE_END = re.compile(r"\r\n|\r|\n")
# What needs neither quotes nor folding.
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_PLAIN_MAX = 70
_WORD_START = "=?"
# Ends a header: a line break that is not one of its folding.
_HEADER_END = re.compile(rb"\r\n(?![ \t])|(?<!\r)\n|\r(?!\n)")


class HeaderNotValid(Exception):
    """A header would end early, and the rest of it would be another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Where a message goes. `message_id` is the same for each attempt to send it."""

    recipient: str
    message_id: str


def write_message(content: MessageContent, envelope: Envelope, *, sender: str) -> bytes:
    """Write a message: plain text, the same as HTML, and its attachment. `sender`: an address.

    Raises HeaderNotValid.
    """
    recipient, utf8 = envelope.recipient, not envelope.recipient.isascii()
    domain = sender.rpartition("@")[2]
    html = _add_logo(_text_part("html", render_html(content)), content.look)
    body = _multipart("alternative", _text_part("plain", render_text(content)), html)
    if content.attachment is not None:
        body = _multipart("mixed", body, _attached_part(content.attachment))
    return b"".join(
        (
            _subject_header(" ".join(content.subject.split()), utf8=utf8),
            _sender_header(" ".join(content.sender.split()), sender, utf8=utf8),
            _recipient_header(recipient, utf8=utf8),
            f"Date: {format_datetime(localtime())}\r\n"
            f"Message-ID: <{envelope.message_id}@{domain}>\r\n"
            "Auto-Submitted: auto-generated\r\n"
            f"Content-Language: {content.locale}\r\n"
            "MIME-Version: 1.0\r\n".encode(),
            body,
        )
    )


@lru_cache(maxsize=1000)
def _encoded_header(name: str, value: str, *, utf8: bool) -> bytes:
    policy = SMTPUTF8 if utf8 else SMTP
    return _checked(policy.fold_binary(*policy.header_store_parse(name, value)))


def _checked(header: bytes) -> bytes:
    if not header.endswith(b"\r\n") or _HEADER_END.search(header[:-2]):
        raise HeaderNotValid
    return header


# `header_store_parse` decodes what looks like an encoded word, and writes a line break in it as
# such. So text that has one is encoded here, and its reader sees what was typed.


def _literal_words(header: str, text: str) -> str:
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


@lru_cache(maxsize=1000)
def _subject_header(text: str, *, utf8: bool) -> bytes:
    if _WORD_START in text:
        return _checked(f"Subject: {_literal_words('Subject', text)}\r\n".encode())
    return _encoded_header("Subject", text, utf8=utf8)


@lru_cache(maxsize=1000)
def _sender_header(name: str, address: str, *, utf8: bool) -> bytes:
    if _WORD_START in name:
        return _checked(f"From: {_literal_words('From', name)}\r\n <{address}>\r\n".encode())
    return _encoded_header("From", str(Address(name, addr_spec=address)), utf8=utf8)


def _recipient_header(address: str, *, utf8: bool) -> bytes:
    if len(address) <= _PLAIN_MAX and _PLAIN_ADDRESS.fullmatch(address):
        return f"To: {address}\r\n".encode()
    if _WORD_START in address:  # an address has no encoded words: it is written as it is
        return _checked(f"To: {address}\r\n".encode())
    if _HEADER_END.search(address.encode()):
        raise HeaderNotValid
    return _encoded_header("To", address, utf8=utf8)


# A part is its headers, an empty line, and its body, which ends with a line break.


def _multipart(kind: str, *parts: bytes, parameters: str = "") -> bytes:
    # No quoted-printable or base64 text has "=_" (RFC 2045, 6.7), so no body has a boundary.
    boundary = f"=_{kind}_florin"
    head = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"{parameters}\r\n\r\n'
    begin = f"--{boundary}\r\n".encode()
    return b"".join(
        (
            head.encode(),
            *(begin + part for part in parts),
            f"--{boundary}--\r\n".encode(),
        )
    )


def _text_part(kind: str, text: str) -> bytes:
    # With CRLF everywhere, its own soft line breaks are CRLF, too.
    written = _LINE_END.sub("\r\n", text).encode()
    head = (
        f'Content-Type: text/{kind}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return head.encode() + binascii.b2a_qp(written) + b"\r\n"


def _add_logo(html: bytes, look: MerchantLook) -> bytes:
    """Inside the message: nothing is fetched when it is opened, so no one learns of that."""
    if look.logo is None or look.logo_kind is None:
        return html
    more = f"Content-Disposition: inline\r\nContent-ID: <{LOGO_ID}>\r\n"
    logo = _binary_part(look.logo_kind, look.logo, more)
    return _multipart("related", html, logo, parameters=';\r\n type="text/html"')


def _attached_part(attachment: Attachment) -> bytes:
    more = f'Content-Disposition: attachment; filename="{attachment.name}"\r\n'
    return _binary_part("application/pdf", attachment.content, more)


def _binary_part(kind: str, content: bytes, more: str) -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{more}\r\n"
    return head.encode() + base64.encodebytes(content).replace(b"\n", b"\r\n")
