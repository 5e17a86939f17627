"""Reading: the mails of a fleet's mailbox, for the command line."""

import time
from collections.abc import Mapping

from florin.ops.fleet.home import Home
from florin.ops.fleet.operator_folder import MAILBOX, operator_folder
from florin.ops.mailbox.kept_mails import KEPT_MOST, KeptMail, MailFolder
from florin.ops.system.console import OperatorError

_LOOK_EVERY_S = 0.1


def list_mails(
    home: Home, environ: Mapping[str, str], recipient: str | None = None
) -> list[KeptMail]:
    """Return all mails, or those to one address, the newest first, without their texts.

    Raises OperatorError, also where mails are sent.
    """
    folder = _open(home, environ)
    try:
        mails = folder.list_mails(KEPT_MOST)
    except PermissionError as error:
        raise _foreign(error) from None
    return [mail for mail in mails if recipient is None or _is_to(mail, recipient)]


def find_mail(home: Home, environ: Mapping[str, str], name: str) -> KeptMail:
    """Return the mail of an id. Raises OperatorError, also where mails are sent."""
    folder = _open(home, environ)
    try:
        found = folder.find_mail(name)
    except PermissionError as error:
        raise _foreign(error) from None
    if found is None:
        raise OperatorError(
            f"There is no mail {name}; florin mailbox lists the {KEPT_MOST} newest."
        )
    return found


def find_last_mail(
    home: Home, environ: Mapping[str, str], recipient: str | None, wait_s: float
) -> KeptMail:
    """Return the newest mail, or the newest to one address; wait for the first of them.

    Raises OperatorError when there is none after `wait_s` seconds, and where mails are sent.
    """
    end = time.monotonic() + wait_s
    while not (mails := list_mails(home, environ, recipient)):
        if time.monotonic() >= end:
            raise OperatorError(
                "The mailbox is empty."
                if recipient is None
                else f"There is no mail to {recipient}; florin mailbox lists all mails."
            )
        time.sleep(_LOOK_EVERY_S)
    return find_mail(home, environ, mails[0].id)


def format_list(mails: list[KeptMail]) -> str:
    if not mails:
        return "No mail was kept yet."
    return "\n".join(
        f"{each.id}  {each.at[:19].replace('T', ' ')}  {', '.join(each.recipients)}  {each.subject}"
        for each in mails
    )


def format_mail(mail: KeptMail) -> str:
    lines = [
        f"From:     {mail.sender}",
        f"To:       {', '.join(mail.recipients)}",
        f"Date:     {mail.at}",
        f"Subject:  {mail.subject}",
        *(f"Attached: {name}" for name in mail.attachments),
    ]
    return "\n".join([*lines, "", mail.text.rstrip()])


def _is_to(mail: KeptMail, recipient: str) -> bool:
    return recipient.casefold() in (each.casefold() for each in mail.recipients)


def _open(home: Home, environ: Mapping[str, str]) -> MailFolder:
    if environ.get("FLORIN_ENV") == "production":
        raise OperatorError("There is no mailbox in production: mails are sent by SMTP_HOST.")
    path = operator_folder(home) / MAILBOX
    try:
        exists = path.exists()
    except PermissionError as error:
        raise _foreign(error) from None
    if not exists:
        raise OperatorError(
            f"There is no mailbox in {home.path}: start a fleet with florin up, without SMTP_HOST"
            " and not in production."
        )
    return MailFolder(path)


def _foreign(error: PermissionError) -> OperatorError:
    return OperatorError(
        f"{error.filename} belongs to another user; run this command as that user."
    )
