"""Mail reports: what a mail server says of a message after it took it: delivered, bounced, or
complained of. Signed by Standard Webhooks 1.0.0 (standardwebhooks.com) with the secret of the
settings; a report may come twice and in any order.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

from florin.deliveries.changes import ERASED
from florin.deliveries.delivery import FAILURE_MAX
from florin.deliveries.notices.subscriptions import notify_of_bounce
from florin.deliveries.suppressions import suppress_address
from florin.kit import ids
from florin.kit.errors import NotFound, Refusal
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings

TOLERANCE_S = 300
_DIGITS_MAX = 15  # of a time in seconds
_MESSAGE_ID = re.compile(r"<?(dlv_[0-9a-f]{32})\.([0-9]{1,9})@[^<>\s]*>?")
_STATES = {"delivered": "delivered", "bounced": "bounced"}
# A bounce may follow a delivery to a gateway that took the message first.
_RECORD = """
update florin.delivery d set state = coalesce($3, d.state), changed_at = clock_timestamp(),
  failure = case when $3 = 'bounced' then $4 else d.failure end
where d.id = $1 and d.generation = $2 and d.channel = 'email'
  and (d.state in ('sending', 'sent') or d.state = 'delivered' and $3 is distinct from 'delivered')
returning d.merchant, d.address
"""


class MailReportNotAuthentic(Refusal):
    """The signature of this report is missing, wrong or too old."""

    code = "mail_report_not_authentic"
    status = 400


class MailReportInvalid(Refusal):
    """This is no report of a mail: see the documentation of deliveries."""

    code = "mail_report_invalid"
    status = 422


class MailReport(msgspec.Struct, kw_only=True):
    """A report. `message_id`: of the message, as Florin wrote it. `detail`: the server's words."""

    type: Literal["delivered", "bounced", "complained"]
    message_id: str
    detail: str = ""


async def receive_mail_report(
    database: Database, settings: Settings, body: bytes, headers: Mapping[str, str]
) -> None:
    """Write a report to its delivery, and suppress its address after a bounce or a complaint.

    Raises NotFound without a secret, MailReportNotAuthentic, MailReportInvalid.
    """
    if settings.mail_report_secret is None:
        raise NotFound
    _check_signature(settings.mail_report_secret.get_secret_value(), body, headers)
    try:
        report = msgspec.json.decode(body, type=MailReport)
    except msgspec.MsgspecError as error:
        raise MailReportInvalid(f"the report cannot be read: {error}") from None
    named = _MESSAGE_ID.fullmatch(report.message_id)
    delivery = None if named is None else ids.parse_id("dlv", named[1])
    if named is None or delivery is None:
        return  # a mail that Florin did not send as a delivery, such as an alert
    await _record(database, delivery, int(named[2]), report)


async def _record(database: Database, delivery: UUID, generation: int, report: MailReport) -> None:
    # Words of another server: no line breaks, NUL or halves of characters reach the database.
    printable = "".join(each if each.isprintable() else " " for each in report.detail)
    detail = " ".join(printable.split()) or "the mail server reported a bounce"
    async with database.transaction() as tx:
        state = _STATES.get(report.type)
        row = await tx.one(_RECORD, delivery, generation, state, detail[:FAILURE_MAX])
        if row is not None and report.type != "delivered" and row["address"] != ERASED:
            await suppress_address(tx, row["merchant"], row["address"], report.type, delivery)
        if row is not None:
            await notify_of_bounce(tx, row["merchant"], delivery)


def _check_signature(secret: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises MailReportNotAuthentic."""
    given: Any = headers.get("webhook-signature", "")
    message_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or len(at) > _DIGITS_MAX or abs(time.time() - int(at)) > TOLERANCE_S:
        raise MailReportNotAuthentic("webhook-timestamp is missing or more than 5 minutes off")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, each.encode()) for each in given.split(" ")):
        raise MailReportNotAuthentic
