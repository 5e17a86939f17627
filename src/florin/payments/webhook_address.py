"""Webhook address: whether webhooks of a gateway would reach Florin.

An unsigned request is sent to the address. Florin refuses it as not authentic, which no other
server does: the address reaches Florin, and there is what webhooks are verified with.
"""

import ssl

import httpx
import msgspec

from florin.payments.gateway_event import WebhookNotAuthentic

_TIMEOUT_S = 5
_NOT_FOUND = 404


class _Refused(msgspec.Struct):
    code: str = ""


async def find_address_problem(url: str, *, verify: ssl.SSLContext | bool = True) -> str | None:
    """Why webhooks would not arrive at `url`; None if they would."""
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, verify=verify) as http:
            answer = await http.post(url, content=b"{}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url} does not answer: {error or type(error).__name__}"[:300]
    if answer.status_code == WebhookNotAuthentic.status and _code(answer) == (
        WebhookNotAuthentic.code
    ):
        return None
    if answer.status_code == _NOT_FOUND:
        return f"{url} does not exist: give the secret or id that its webhooks are verified with"
    return f"{url} is answered with {answer.status_code}, but not by Florin"[:300]


def _code(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Refused).code
    except msgspec.MsgspecError:
        return ""
