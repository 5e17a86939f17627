"""API: the addresses at which Twilio and mail servers report what became of messages."""

import msgspec
from litestar import Response, post

from florin.deliveries.mail_reports import (
    MailReportInvalid,
    MailReportNotAuthentic,
    receive_mail_report,
)
from florin.deliveries.sms_reports import ReportNotAuthentic, receive_report
from florin.kit.errors import NotFound
from florin.kit.http.litestar_adapter import AnyRequest
from florin.kit.openapi.responses import refusal_responses
from florin.kit.postgres.database import Database
from florin.kit.settings import Settings


class ReportReceipt(msgspec.Struct, kw_only=True):
    """The answer to a report: received, also when it changes nothing."""

    received: bool


@post(
    "/hooks/twilio/{merchant:str}/{delivery:str}/{generation:int}",
    status_code=200,
    summary="Receive a report of Twilio",
    responses=refusal_responses(NotFound, ReportNotAuthentic, public=True),
)
async def receive_twilio_report(
    request: AnyRequest,
    db: Database,
    settings: Settings,
    merchant: str,
    delivery: str,
    generation: int,
) -> Response[ReportReceipt]:
    """For Twilio, which is given this address with each message. Its form (`MessageStatus`,
    `ErrorCode`) is signed (`X-Twilio-Signature`): a delivery that was sent becomes `delivered`,
    `bounced` or `failed`.
    """
    body = await request.body()
    await receive_report(db, settings, (merchant, delivery, generation), body, request.headers)
    return Response(ReportReceipt(received=True))


@post(
    "/hooks/mail",
    status_code=200,
    summary="Receive a report of a mail server",
    responses=refusal_responses(NotFound, MailReportNotAuthentic, MailReportInvalid, public=True),
)
async def receive_mail_report_hook(
    request: AnyRequest, db: Database, settings: Settings
) -> Response[ReportReceipt]:
    """For the mail server: `type` (`delivered`, `bounced` or `complained`), `message_id` and
    `detail`, signed as a Standard Webhook. `delivered` and `bounced` become the state of the
    delivery; after `bounced` and `complained` its address gets no more gifts and reminders.
    """
    await receive_mail_report(db, settings, await request.body(), request.headers)
    return Response(ReportReceipt(received=True))


handlers = [receive_twilio_report, receive_mail_report_hook]
