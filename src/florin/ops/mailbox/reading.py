"""Reading: the mails of a fleet's mailbox, for the command line."""

from collections.abc import Mapping

from florin.ops.fleet.home import Home
from florin.ops.fleet.operator_folder import MAILBOX, operator_folder
from florin.ops.mailbox.kept_mails import KEPT_MOST, KeptMail, MailFolder
from florin.ops.system.console import OperatorError

LAST = "last"  # in place of an id: the newest


def list_mails(home: Home, environ: Mapping[str, str]) -> list[KeptMail]:
    """Return all mails, the newest first, without their texts.

    Raises OperatorError, also where mails are sent.
    """
    folder = _open(home, environ)
    try:
        return folder.list_mails(KEPT_MOST)
    except PermissionError as error:
        raise _foreign(error) from None


def find_mail(home: Home, environ: Mapping[str, str], name: str) -> KeptMail:
    """Return a whole mail. Raises OperatorError, also where mails are sent."""
    folder = _open(home, environ)
    try:
        newest = folder.list_mails(1) if name == LAST else []
        found = folder.find_mail(newest[0].id if newest else name)
    except PermissionError as error:
        raise _foreign(error) from None
    if found is None:
        raise OperatorError(
            "The mailbox is empty."
            if name == LAST
            else f"There is no mail {name}; florin mailbox lists the {KEPT_MOST} newest."
        )
    return found


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
