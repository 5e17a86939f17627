"""SMS: sends messages by Twilio's API, and checks the signature of its reports.

https://www.twilio.com/docs/messaging/api/message-resource, 2010-04-01. The API has no idempotency
keys: after an unknown outcome a message may arrive twice, unless its report comes first.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
import msgspec

from florin.deliveries.channels.email import MessageNotSent
from florin.kit.settings import Settings

WITHIN_S = 15.0  # Twilio answers once it has queued the message
BODY_MAX = 1600  # characters, Twilio's limit
# Codes that say of a number that it cannot get messages: it is none, is no mobile, is in a region
# without service, or its owner has opted out (21610).
_BAD_NUMBERS = frozenset({21211, 21214, 21217, 21408, 21610, 21612, 21614, 21635})
_SERVICE = "MG"
_CREATED, _BUSY, _SERVER_ERROR = 201, 429, 500
_OUR_MISTAKE = (401, 403, 404)  # of the settings: the message waits until they are right


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage:
    """A message by SMS. `to`: E.164. `report_to`: the address that gets its state."""

    to: str
    body: str
    report_to: str


class _Refusal(msgspec.Struct):
    code: int | None = None
    message: str = ""


@dataclass(slots=True)
class TwilioSender:
    """Sends by the account of the settings, which need all three of TWILIO_…"""

    settings: Settings
    _http: httpx.AsyncClient | None = field(default=None)

    async def send(self, message: TextMessage) -> None:
        """Raises MessageNotSent."""
        chosen = self.settings
        assert chosen.twilio_account_sid is not None
        assert chosen.twilio_from is not None
        sender = "MessagingServiceSid" if chosen.twilio_from.startswith(_SERVICE) else "From"
        form = {
            "To": message.to,
            sender: chosen.twilio_from,
            "Body": message.body[:BODY_MAX],
            "StatusCallback": message.report_to,
        }
        path = f"/2010-04-01/Accounts/{chosen.twilio_account_sid}/Messages.json"
        try:
            answer = await self._client().post(path, data=form)
        except httpx.HTTPError as error:
            unknown = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            reason = f"Twilio is not reachable ({type(error).__name__})"
            raise MessageNotSent(reason, unknown=unknown) from None
        if answer.status_code != _CREATED:
            raise _refused(answer)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            chosen = self.settings
            assert chosen.twilio_account_sid is not None
            assert chosen.twilio_auth_token is not None
            token = chosen.twilio_auth_token.get_secret_value()
            self._http = httpx.AsyncClient(
                base_url=chosen.twilio_url.rstrip("/"),
                auth=(chosen.twilio_account_sid, token),
                timeout=WITHIN_S,
            )
        return self._http


def _refused(answer: httpx.Response) -> MessageNotSent:
    try:
        found = msgspec.json.decode(answer.content, type=_Refusal)
    except msgspec.DecodeError:
        found = _Refusal()
    said = f"Twilio answered {answer.status_code} {found.code or ''} {found.message}"
    reason = " ".join(said.split())
    if found.code in _BAD_NUMBERS:
        return MessageNotSent(reason, again=False, bounced=True)
    status = answer.status_code
    again = status == _BUSY or status >= _SERVER_ERROR or status in _OUR_MISTAKE
    return MessageNotSent(reason, again=again, unknown=status >= _SERVER_ERROR)


def is_signed(token: str, url: str, form: Iterable[tuple[str, str]], signature: str) -> bool:
    """Whether a report is from Twilio: X-Twilio-Signature is the HMAC-SHA-1, under the account's
    auth token, of the address that was called and of the fields in the order of their names.
    https://www.twilio.com/docs/usage/security#validating-requests
    """
    signed = url + "".join(name + value for name, value in sorted(form))
    digest = hmac.digest(token.encode(), signed.encode(), hashlib.sha1)
    return hmac.compare_digest(base64.b64encode(digest), signature.encode())
