"""Kept mails: what is written is read, the newest stay, and a terminal shows text only."""

from email.message import EmailMessage
from pathlib import Path

import pytest

from florin.ops.mailbox.kept_mails import MailFolder


def _mail(subject: str, text: str, html: str | None = None) -> bytes:
    message = EmailMessage()
    message["From"] = "Florin <florin@localhost>"
    message["Subject"] = subject
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return bytes(message)


def test_a_mail_is_read_as_it_came(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path)
    name = folder.keep_mail(
        "florin@localhost",
        ["ana@example.org", "bo@example.org"],
        _mail("Für Ana", "Hello\nAna\n", "<p>Hello</p>"),
    )
    mail = folder.find_mail(name)
    assert mail is not None
    assert (mail.subject, mail.text, mail.has_html) == ("Für Ana", "Hello\nAna\n", True)
    assert mail.recipients == ["ana@example.org", "bo@example.org"]
    assert mail.sender == "Florin <florin@localhost>"
    assert folder.find_html(name) == "<p>Hello</p>\n"


def test_the_list_is_newest_first_and_old_mails_are_removed(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path, most=3)
    names = [folder.keep_mail("a@b.c", ["d@e.f"], _mail(str(n), "-")) for n in range(5)]
    assert [mail.id for mail in folder.list_mails(10)] == names[:1:-1]
    assert [mail.subject for mail in folder.list_mails(2)] == ["4", "3"]
    assert folder.find_mail(names[0]) is None


def test_a_clock_that_was_set_back_does_not_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = MailFolder(tmp_path)
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    names = [folder.keep_mail("a@b.c", ["d@e.f"], _mail(str(n), "-")) for n in range(3)]
    assert sorted(set(names)) == names


@pytest.mark.parametrize("name", ["../secrets", "0" * 15, "0" * 16, "", ".." + "0" * 14])
def test_other_names_are_no_mails(tmp_path: Path, name: str) -> None:
    (tmp_path / "secrets.eml").write_text("Subject: secret\n\n")
    (tmp_path / "mailbox").mkdir()
    folder = MailFolder(tmp_path / "mailbox")
    assert folder.find_mail(name) is None
    assert folder.find_html(name) is None


def test_no_text_moves_the_cursor_of_a_terminal(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path)
    name = folder.keep_mail("a@b.c", ["d@e.f"], b"Subject: a\x1b[31mb\r\n\r\nc\x1b]0;d\x07\r\n")
    mail = folder.find_mail(name)
    assert mail is not None
    assert "\x1b" not in mail.subject + mail.text
    assert "\x07" not in mail.text


def test_a_message_that_is_no_mail_is_kept_and_shown(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path)
    name = folder.keep_mail("", [], b"\xff\xfe\x00 not a mail")
    assert folder.find_mail(name) is not None
    assert [mail.id for mail in folder.list_mails(5)] == [name]
