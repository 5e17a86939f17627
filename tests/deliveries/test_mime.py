"""MIME: what is written is read again by a parser that is not ours, with any texts."""

from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, compat32

import pytest

from florin.deliveries.channels.mime import Envelope, HeaderNotValid, write_message
from florin.deliveries.content import Attachment, MessageContent, render_html, render_text
from florin.deliveries.look import MerchantLook

SENDER = "cards@shop.example"
PLAIN = MessageContent(
    locale="en",
    subject="€50.00 for you",
    sender="Blume",
    preview="A card",
    heading="This is for you",
    quote="Enjoy",
    footer="Sent by Blume",
)
LOOK = MerchantLook(
    card="#112233", line="#445566", logo=bytes(range(256)) * 40, logo_kind="image/png"
)


def written(content: MessageContent, recipient: str = "ida@home.example") -> bytes:
    return write_message(
        content, Envelope(recipient=recipient, message_id="dlv_1.1"), sender=SENDER
    )


def read(content: MessageContent, recipient: str = "ida@home.example") -> EmailMessage:
    policy = SMTP if recipient.isascii() else SMTPUTF8
    message = message_from_bytes(written(content, recipient), policy=policy)
    assert isinstance(message, EmailMessage)
    assert not any(part.defects for part in message.walk())
    return message


def texts(message: EmailMessage) -> list[str]:
    parts = [each for each in message.walk() if each.get_content_maintype() == "text"]
    return [each.get_content().replace("\r\n", "\n") for each in parts]


@pytest.mark.parametrize(
    "quote",
    [
        "Grüße, 誕生日おめでとう 🎂",
        ".\n..\nFrom the beginning\n. ",
        "--=_alternative_florin\n--=_alternative_florin--",
        "a" * 3000,
        "ends with spaces   \n\ttabs\t\nold\rline\r\nends",
        "= =3D =20 =\n?=",
    ],
)
def test_any_text_comes_through(quote: str) -> None:
    content = replace(PLAIN, quote=quote)
    message = read(content)
    assert message.get_content_type() == "multipart/alternative"
    one = quote.replace("\r\n", "\n").replace("\r", "\n")
    plain, html = texts(message)
    assert plain.rstrip("\n") == render_text(replace(content, quote=one)).rstrip("\n")
    assert html.rstrip("\n") == render_html(replace(content, quote=one)).rstrip("\n")


def test_every_server_takes_it() -> None:
    """Seven bits, short lines that end with CRLF (RFC 5321 without extensions)."""
    sent = written(
        replace(
            PLAIN,
            subject="Ein Geschenk für Sie " * 20,
            sender='Grünes Häuschen, "das" <eine>',
            quote="誕" * 2000,
            look=LOOK,
            attachment=Attachment(name="voucher.pdf", content=bytes(range(256)) * 30),
        )
    )
    assert sent.isascii()
    assert sent.count(b"\n") == sent.count(b"\r\n") == sent.count(b"\r")
    assert max(map(len, sent.split(b"\r\n"))) <= 998


def test_headers_of_others_stay_their_own() -> None:
    subject = "Für Sie\r\nBcc: all@home.example\n" + "lang " * 60
    sender = 'Häuschen, "das" <x@y.example>'
    message = read(replace(PLAIN, subject=subject, sender=sender))
    assert message["Subject"] == " ".join(subject.split())
    (address,) = message["From"].addresses
    assert (address.display_name, address.addr_spec) == (sender, SENDER)
    assert "Bcc" not in message
    assert message["Message-ID"] == "<dlv_1.1@shop.example>"
    assert message["Date"].datetime is not None
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en"


WORDS = [
    "=?utf-8?q?Shop=0d=0aReply-To:_evil=40x.com?=",
    "=?utf-8?q?=0aBcc:_evil=40x.com?= =?utf-8?b?DQpYOiB5?=",
    "Blume =?utf-8?q?=0d=0a=0d=0abody?= " + "lang " * 30,
    "Blüte =?utf-8?q?=0d=0aBcc:x?=",
    "a=?utf-8?q?=0aBcc:x?=b",
    "=?utf-8?q?Blume?=",
    "=?utf-8?q?" * 40,
]


@pytest.mark.parametrize("recipient", ["ida@home.example", "jürgen@küche.example"])
@pytest.mark.parametrize("text", WORDS)
def test_encoded_words_of_others_are_shown_and_not_read(text: str, recipient: str) -> None:
    """Read line by line, and by a parser that does not know the other headers."""
    text = text.strip()
    plain = written(replace(PLAIN, subject=text, sender=text), recipient)
    head = plain.partition(b"\r\n\r\n")[0]
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert names == [
        b"Subject", b"From", b"To", b"Date", b"Message-ID", b"Auto-Submitted", b"Content-Language",
        b"MIME-Version", b"Content-Type",
    ]  # fmt: skip
    message = message_from_bytes(plain, policy=compat32)
    assert str(make_header(decode_header(message["Subject"]))) == text
    name, angle, address = str(message["From"]).replace("\r\n", "\n").rpartition("<")
    assert str(make_header(decode_header(name.rstrip()))) == text
    assert angle + address == f"<{SENDER}>"


@pytest.mark.parametrize("space", ["\u2028", "\x0b", "\x85", "\r\n"])
def test_a_sender_is_one_line(space: str) -> None:
    (address,) = read(replace(PLAIN, sender=f"Blume{space}Bcc: x@y.example"))["From"].addresses
    assert address.display_name == "Blume Bcc: x@y.example"


def test_an_address_like_an_encoded_word_is_written_as_it_is() -> None:
    recipient = "=?utf-8?q?a=0d=0abcc=3a?=@home.example"
    assert f"\r\nTo: {recipient}\r\nDate: ".encode() in written(PLAIN, recipient)
    for broken in ("=?a\r\nBcc: x@home.example", "a\r\nBcc: x@home.example"):
        with pytest.raises(HeaderNotValid):
            written(PLAIN, broken)


@pytest.mark.parametrize(
    "recipient",
    ["ida@home.example", "o'hara+gift@home.example", '"a b"@home.example', "Ida@HOME.example",
     f"{'long' * 15}@{'very.' * 30}example", "jürgen@küche.example"],
)  # fmt: skip
def test_the_recipient_is_as_given(recipient: str) -> None:
    (address,) = read(PLAIN, recipient)["To"].addresses
    # The parser reads the bytes as ASCII, and keeps the others.
    assert address.addr_spec.encode("utf-8", "surrogateescape").decode() == recipient


def test_the_logo_belongs_to_the_html_and_the_voucher_to_the_whole() -> None:
    pdf = b"%PDF-1.7 \x00\xff" * 900
    message = read(replace(PLAIN, look=LOOK, attachment=Attachment(name="v.pdf", content=pdf)))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    logo, voucher = list(message.walk())[-2:]
    assert logo["Content-ID"] == "<logo@florin>"
    assert logo.get_content_disposition() == "inline"
    assert logo.get_content() == LOOK.logo
    assert voucher.get_filename() == "v.pdf"
    assert voucher.get_content() == pdf
