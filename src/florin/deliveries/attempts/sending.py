"""Sending: one job sends one delivery.

The job claims the row (`due` to `sending`) and commits, sends, and records the outcome in the
transaction that ends the job. A worker that is lost in between leaves `sending`: the next one sends
it again under the same Message-ID, by which servers and readers recognise it, and counts it in
`repeated`. No delivery is lost, and no worker that lost its lease records anything.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from florin.deliveries.attempts.rows import AttemptRows, DeliveryKey, Ended
from florin.deliveries.channels.email import MessageNotSent, SmtpSender
from florin.deliveries.channels.mime import Envelope
from florin.deliveries.channels.pdf import Paper, PdfNotInstalled, Voucher, render_voucher
from florin.deliveries.channels.sms import TextMessage, TwilioSender
from florin.deliveries.composing import (
    MessageFacts,
    compose_message,
    compose_text_message,
)
from florin.deliveries.delivery import FAILURE_MAX, QUEUES, secret_binding
from florin.deliveries.notices.mails import read_staff_notice
from florin.deliveries.notices.subscriptions import NEEDED_SCOPE
from florin.deliveries.sms_reports import report_url
from florin.identity.scopes import ROLES
from florin.kit import ids
from florin.kit.encryption import Sealer, UnsealFailed
from florin.kit.observability import logging, metrics
from florin.kit.postgres.database import Row
from florin.kit.queue.job import Continue, QueuedJob
from florin.kit.settings import Settings

# After each failed attempt; the last one is repeated. About a day, then the delivery has failed.
DELAYS_S = (2, 10, 60, 300, 900, 1800, 3600)
ATTEMPTS = 30
_SUPPRESSED = (
    "the address is suppressed, since an earlier message {}: correct the address, or lift the"
    " suppression"
)
_CODE_REPLACED = "its mail has the code, which was replaced meanwhile: send it again"
_SUPPRESSIBLE = ("gift", "reminder")
# Reads the card of a link with its code, by the token; None if the code was replaced.
VoucherReader = Callable[[str], Awaitable[tuple[Voucher, Paper] | None]]
_log = logging.get_logger()
for _channel in ("email", "sms"):
    for _state in ("sent", "due", "sending", "bounced", "failed", "cancelled"):
        metrics.delivery_attempts.labels(_channel, _state)  # all series from the start

# The sweep puts it into the queue again; no attempt is counted.
_POSTPONE = """
update florin.delivery d set failure = $4, changed_at = clock_timestamp()
where d.merchant = $1 and d.id = $2 and d.generation = $3 and d.state in ('due', 'sending')
"""


class DeliverySender:
    """Sends deliveries by e-mail and SMS."""

    def __init__(self, settings: Settings, sealer: Sealer, vouchers: VoucherReader) -> None:
        self._settings = settings
        self._sealer = sealer
        self._vouchers = vouchers
        self._smtp = SmtpSender(settings)
        self._twilio = TwilioSender(settings)
        self._rows = AttemptRows()

    def obstacle(self, channel: str) -> str | None:
        """The setting without which nothing can be sent; None: all are there."""
        if channel == "sms" and self._settings.twilio_account_sid is None:
            return "TWILIO_ACCOUNT_SID is not set: there is no account to send by"
        if channel == "email" and self._settings.smtp_host is None:
            return "SMTP_HOST is not set: there is no mail server to send by"
        if self._settings.public_url is None:
            return "FLORIN_PUBLIC_URL is not set: links cannot be written"
        return None

    async def send(self, job: QueuedJob) -> Continue | None:
        """Send the delivery of a job."""
        payload: dict[str, Any] = job.payload
        key = DeliveryKey(
            UUID(payload["merchant"]), UUID(payload["delivery"]), payload["generation"]
        )
        obstacle = self.obstacle("sms" if job.queue == QUEUES["sms"] else "email")
        if obstacle is not None:
            async with job.effect(last=True) as tx:
                await tx.run(_POSTPONE, *key, obstacle)
            return None
        claimed = await self._rows.claim(job, key)
        if claimed is None:
            return None  # sent, cancelled, or asked for again since
        row = claimed.row
        ended = await self._attempt(row, claimed.facts)
        metrics.delivery_attempts.labels(row["channel"], ended.state).inc()
        if ended.failure is not None:
            _log.warning(
                "a delivery was not sent",
                delivery=ids.show_id("dlv", row["id"]),
                kind=row["kind"],
                attempt=row["attempts"],
                state=ended.state,
            )
        await self._rows.record(job, key, row["kind"], ended)
        return None if ended.again_s is None else Continue(ended.again_s)

    async def _attempt(self, row: Row, facts: MessageFacts) -> Ended:
        obstacle = facts.obstacle(row["kind"])
        if row["kind"] == "notice" and row["member"] is not None and facts.role is None:
            obstacle = "its reader is no member any more"
        staff = read_staff_notice(row)
        if staff is not None and NEEDED_SCOPE[staff.about] not in ROLES.get(facts.role or "", ()):
            obstacle = "the role of its reader does not allow it any more"
        if obstacle is not None:
            return Ended("cancelled", obstacle)
        # Not mails of accounts and receipts: their recipients ask for them or need them.
        if facts.suppressed is not None and row["kind"] in _SUPPRESSIBLE:
            return Ended("bounced", _SUPPRESSED.format(facts.suppressed))
        try:
            secret = self._secret(row) or self._order_token(row["merchant"], facts)
        except UnsealFailed:
            return Ended("failed", "the key that sealed its link was removed: make a new link")
        public_url = (self._settings.public_url or "").rstrip("/")
        try:
            if row["channel"] == "sms":
                await self._send_text(row, facts, public_url, secret)
            else:
                await self._send_mail(row, facts, public_url, secret)
        except MessageNotSent as failure:
            return _after_failure(row["attempts"], failure)
        return Ended("sent")

    async def _send_mail(
        self, row: Row, facts: MessageFacts, public_url: str, secret: str | None
    ) -> None:
        """Raises MessageNotSent."""
        voucher = printed = None
        if row["kind"] == "gift" and facts.code_in_mail:
            found = None if secret is None else await self._vouchers(secret)
            if found is None:
                raise MessageNotSent(_CODE_REPLACED, again=False)
            voucher, paper = found
            with suppress(PdfNotInstalled):  # the mail has the code all the same
                printed = await render_voucher(voucher, paper)
        content = compose_message(
            row, facts, public_url=public_url, secret=secret, voucher=voucher, printed=printed
        )
        message_id = f"{ids.show_id('dlv', row['id'])}.{row['generation']}"
        await self._smtp.send(content, Envelope(recipient=row["address"], message_id=message_id))

    async def _send_text(
        self, row: Row, facts: MessageFacts, public_url: str, secret: str | None
    ) -> None:
        """Raises MessageNotSent."""
        body = compose_text_message(row, facts, public_url=public_url, secret=secret)
        report_to = report_url(public_url, row["merchant"], row["id"], row["generation"])
        await self._twilio.send(TextMessage(to=row["address"], body=body, report_to=report_to))

    def _secret(self, row: Row) -> str | None:
        """Raises UnsealFailed."""
        if row["secret_sealed"] is None:
            return None
        binding = secret_binding(row["merchant"], row["id"])
        return self._sealer.unseal(row["secret_sealed"], bound_to=binding)

    def _order_token(self, merchant: UUID, facts: MessageFacts) -> str | None:
        """The token of an order's page; None if its key was removed: the mail says enough."""
        if facts.order_token is None or facts.orders is None:
            return None
        try:
            return self._sealer.unseal(
                facts.order_token, bound_to=merchant.bytes + facts.orders.bytes
            )
        except UnsealFailed:
            return None


def _after_failure(attempts: int, failure: MessageNotSent) -> Ended:
    # A server may answer in any encoding, and aiosmtplib keeps its bytes as surrogates.
    text = str(failure).encode("utf-8", "replace").decode().replace("\0", "")
    reason = text[:FAILURE_MAX]
    if failure.bounced:
        return Ended("bounced", reason)
    if not failure.again or attempts >= ATTEMPTS:
        return Ended("failed", reason)
    delay_s = DELAYS_S[min(attempts, len(DELAYS_S)) - 1]
    # After an unknown outcome it stays `sending`: the next attempt may be a repetition.
    return Ended("sending" if failure.unknown else "due", reason, delay_s)
