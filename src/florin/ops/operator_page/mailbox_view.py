"""Mailbox view: the pages of the mails that a development fleet keeps, at /operator/mailbox."""

import re
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from florin.kit.settings import read_variable
from florin.ops.fleet.operator_folder import MAILBOX
from florin.ops.mailbox.kept_mails import MailFolder
from florin.ops.operator_page.page import page_templates

ROOT = "/operator/mailbox"
_LISTED = 100
_LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:)]")
# A mail is foreign HTML: it runs no script and loads nothing; only its links work.
_MAIL_POLICY = (
    b"sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation;"
    b" default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)


class MailboxPage(NamedTuple):
    """A page, and its policy if it is not that of the operator page."""

    html: bytes
    policy: bytes | None


def open_mailbox(facts_folder: Path) -> MailFolder | None:
    """Return the mailbox next to the facts; None in production, or if there is none."""
    path = facts_folder / MAILBOX
    production = (read_variable("FLORIN_ENV") or "production") == "production"
    return None if production or not path.is_dir() else MailFolder(path)


def mailbox_page(folder: MailFolder, path: str) -> MailboxPage | None:
    """Return the page of a path below ROOT; None if there is none. Raises OSError."""
    name, _, form = path.removeprefix(ROOT).removeprefix("/").partition("/")
    if not name:
        return _rendered("mailbox.html", mails=folder.list_mails(_LISTED))
    if form == "html":
        html = folder.find_html(name)
        return None if html is None else MailboxPage(html.encode(), _MAIL_POLICY)
    mail = None if form else folder.find_mail(name)
    return None if mail is None else _rendered("mail.html", mail=mail, text=_linked(mail.text))


def _rendered(template: str, **values: object) -> MailboxPage:
    text = page_templates().get_template(template).render(root=ROOT, **values)
    return MailboxPage(text.encode(), None)


def _linked(text: str) -> Markup:
    """Return the text as HTML, with its addresses as links."""
    pieces, at = list[Markup](), 0
    for match in _LINK.finditer(text):
        link = Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(match[0])
        pieces += [Markup.escape(text[at : match.start()]), link]
        at = match.end()
    return Markup("").join([*pieces, Markup.escape(text[at:])])
