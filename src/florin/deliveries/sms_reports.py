"""SMS reports: what Twilio says about a message after it was sent, written to its delivery."""

from collections.abc import Mapping
from urllib.parse import parse_qsl
from uuid import UUID

from florin.deliveries.channels.sms import is_signed
from florin.deliveries.notices.subscriptions import notify_of_bounce
from florin.kit import ids
from florin.kit.errors import NotFound, Refusal
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings

PATH = "/api/v1/hooks/twilio"
_FIELDS_MAX = 100
# Others say that it is on its way. What was delivered stays so.
_STATES = {"delivered": "delivered", "undelivered": "bounced", "failed": "failed"}
_RECORD = """
update florin.delivery d set state = $4, failure = $5, changed_at = clock_timestamp(),
  sent_at = coalesce(d.sent_at, clock(d.merchant))
where d.merchant = $1 and d.id = $2 and d.generation = $3 and d.channel = 'sms'
  and d.state in ('sending', 'sent')
"""


class ReportNotAuthentic(Refusal):
    """The signature of this report is missing or wrong."""

    code = "report_not_authentic"
    status = 400


def report_url(public_url: str, merchant: UUID, delivery: UUID, generation: int) -> str:
    """The address at which Twilio reports about one message."""
    names = f"{ids.show_id('mer', merchant)}/{ids.show_id('dlv', delivery)}/{generation}"
    return f"{public_url.rstrip('/')}{PATH}/{names}"


async def receive_report(
    database: Database,
    settings: Settings,
    address: tuple[str, str, int],
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    """Write a report to its delivery. `address`: merchant, delivery and generation of the address.

    Raises NotFound where no account is configured, ReportNotAuthentic.
    """
    if settings.twilio_auth_token is None or settings.public_url is None:
        raise NotFound
    merchant, delivery = ids.parse_id("mer", address[0]), ids.parse_id("dlv", address[1])
    if merchant is None or delivery is None:
        raise NotFound
    # Signed is the address that Florin gave, not what proxies made of it on the way here.
    url = report_url(settings.public_url, merchant, delivery, address[2])
    form = _read_form(body)
    token = settings.twilio_auth_token.get_secret_value()
    if not is_signed(token, url, form, headers.get("x-twilio-signature", "")):
        raise ReportNotAuthentic
    said = dict(form)
    state = _STATES.get(said.get("MessageStatus", ""))
    if state is None:
        return
    failure = None
    if state != "delivered":
        failure = f"Twilio: {said['MessageStatus']}, error {said.get('ErrorCode', 'unknown')}"[:500]
    async with database.transaction() as tx:
        await tx.run(_RECORD, merchant, delivery, address[2], state, failure)
        await notify_of_bounce(tx, merchant, delivery)


def _read_form(body: bytes) -> list[tuple[str, str]]:
    """Raises ReportNotAuthentic."""
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_FIELDS_MAX,
            errors="strict",
        )
    except ValueError:
        raise ReportNotAuthentic from None
