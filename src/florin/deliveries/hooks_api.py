"""API: the address at which Twilio reports the state of messages by SMS."""

import msgspec
from litestar import Response, post

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


handlers = [receive_twilio_report]
