"""SMS: the installation's account at Twilio, or at a service that speaks its protocol."""

import re
from typing import Annotated

from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import WebUrl, variable

_SENDER = re.compile(r"\+[1-9]\d{6,14}|MG[0-9a-f]{32}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")


def _sender(value: str) -> str:
    if not _SENDER.fullmatch(value):
        raise ValueError(
            "must be a number such as +4915123456789, the id of a messaging service (MG…), or a"
            " name of at most 11 letters and digits"
        )
    return value


class SmsSettings(BaseSettings):
    """SMS"""

    twilio_account_sid: str | None = variable(
        "TWILIO_ACCOUNT_SID",
        "Id of the account at Twilio that sends messages by SMS. Without it cards cannot be"
        " delivered by SMS.",
        None,
        pattern="^AC[0-9a-f]{32}$",
        example="AC00000000000000000000000000000000",
    )
    twilio_auth_token: SecretStr | None = variable(
        "TWILIO_AUTH_TOKEN", "Its auth token; it also signs Twilio's reports of delivery.", None
    )
    twilio_from: Annotated[str, AfterValidator(_sender)] | None = variable(
        "TWILIO_FROM",
        "Sender: a number of the account, the id of a messaging service, or a name.",
        None,
        example="+4915123456789",
    )
    twilio_url: WebUrl = variable(
        "TWILIO_URL",
        "Another address of Twilio's API, such as that of a region.",
        "https://api.twilio.com",
    )
