"""Settings: reads the variables and reports all errors in them together.

`NAME_FILE` is the path of a file with the value of `NAME`, for mounted secrets.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from florin.kit.settings import secret_managers, validation
from florin.kit.settings.alerts import AlertSettings, MailSettings
from florin.kit.settings.backups import BackupSettings
from florin.kit.settings.databases import DatabaseSettings, SecretManagerSettings
from florin.kit.settings.payments import PaymentSettings
from florin.kit.settings.process import (
    AccessSettings,
    FleetSettings,
    ProcessSettings,
    ShutdownSettings,
)
from florin.kit.settings.rate_limits import RateLimitSettings
from florin.kit.settings.secrets import SecretSettings
from florin.kit.settings.sms import SmsSettings
from florin.kit.settings.telemetry import TelemetrySettings
from florin.kit.settings.workers import WorkerSettings

_FILE_MAX = 64 * 1024  # bytes


class InvalidSettings(Exception):
    """The errors in the settings, one per line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class GivenSettings(BaseSettings):
    """Settings from values that were already read; the environment is not read again."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class Settings(
    ProcessSettings,
    ShutdownSettings,
    DatabaseSettings,
    SecretSettings,
    AccessSettings,
    WorkerSettings,
    RateLimitSettings,
    TelemetrySettings,
    SecretManagerSettings,
    BackupSettings,
    MailSettings,
    SmsSettings,
    AlertSettings,
    PaymentSettings,
    FleetSettings,
    GivenSettings,
):
    """Every variable Florin reads. Secrets never appear in its representation."""

    @property
    def signup_open(self) -> bool:
        return self.signup == "open" or (self.signup is None and self.env != "production")

    @property
    def page_origin(self) -> str:
        """The beginning of the addresses of pages, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def sends_sms(self) -> bool:
        return self.twilio_account_sid is not None and self.public_url is not None

    @property
    def needs_verified_email(self) -> bool:
        required = self.verify_email == "required"
        return required or (self.verify_email is None and self.env == "production")


class ReceiverSettings(MailSettings, AlertSettings, GivenSettings):
    """The variables of a process that only sends alerts."""


def variable_names() -> list[str]:
    """The variables, in the order in which they are documented."""
    return [
        str(field.validation_alias)
        for section in SECTIONS
        for field in section.model_fields.values()
    ]


# In the order of the documentation.
# The last one has no variables.
SECTIONS = cast("tuple[type[BaseSettings], ...]", Settings.__bases__[:-1])


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises InvalidSettings with all errors, by variable."""
    environ = os.environ if environ is None else environ
    given, mistakes = _gather(environ)
    reported = {mistake.partition(":")[0].removesuffix("_FILE") for mistake in mistakes}
    settings: Settings | None = None
    try:
        values: dict[str, Any] = dict(given)
        settings = Settings(**values)
    except ValidationError as error:
        mistakes += [
            each for each in map(_message, error.errors()) if each.partition(":")[0] not in reported
        ]
        reported |= {mistake.partition(":")[0] for mistake in mistakes}
    mistakes += [
        each for each in validation.rule_violations(given) if each.partition(":")[0] not in reported
    ]
    if mistakes or settings is None:
        raise InvalidSettings([_hint(mistake, environ) for mistake in mistakes])
    return settings


def read_receivers(environ: Mapping[str, str] | None = None) -> ReceiverSettings:
    """Read the variables of the mail server and the receivers of alerts. Raises InvalidSettings."""
    environ = os.environ if environ is None else environ
    given, mistakes = _gather(environ)
    own = {str(f.validation_alias) for f in ReceiverSettings.model_fields.values()}
    values: dict[str, Any] = {name: value for name, value in given.items() if name in own}
    mistakes = [each for each in mistakes if each.partition(":")[0].removesuffix("_FILE") in own]
    mistakes += validation.mail_violations(values)
    try:
        settings = ReceiverSettings(**values)
    except ValidationError as error:
        raise InvalidSettings([*mistakes, *map(_message, error.errors())]) from None
    if mistakes:
        raise InvalidSettings(mistakes)
    return settings


def read_variable(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """One variable, for a command that needs no others. Raises InvalidSettings."""
    value, mistakes = _value(name, os.environ if environ is None else environ)
    if mistakes:
        raise InvalidSettings(mistakes)
    return value


def settings_advice(environ: Mapping[str, str] | None = None) -> list[str]:
    """Warnings about values that are valid but probably not intended, such as misspelt names.

    They are no errors: after a rollback, the older release must start with the variables of the
    newer one.
    """
    environ = os.environ if environ is None else environ
    known = {*variable_names(), *(f"{name}_FILE" for name in variable_names())}
    advice: list[str] = []
    for name in sorted(environ):
        if name.startswith("FLORIN_") and name not in known:
            meant = get_close_matches(name, known, 1, 0.8)
            hint = f"; is {meant[0]} meant?" if meant else ""
            advice.append(f"{name}: Florin reads no such variable{hint}")
    advice += [
        f"{name}: is given, and {name}_FILE too; the file is used"
        for name in variable_names()
        if environ.get(name) and environ.get(f"{name}_FILE")
    ]
    values, _ = _gather(environ, vault=False)
    return advice + validation.rule_remarks(values)


def _gather(environ: Mapping[str, str], *, vault: bool = True) -> tuple[dict[str, str], list[str]]:
    """The values of the variables, and the errors in reading them."""
    values: dict[str, str] = {}
    mistakes: list[str] = []
    for name in variable_names():
        value, wrong = _value(name, environ)
        mistakes += wrong
        if value is not None:
            values[name] = value
    place = values.get("FLORIN_SECRETS_FROM")
    if vault and place is not None:
        wanted = [name for name in variable_names() if name not in values]
        try:
            values |= secret_managers.read_secrets(place, wanted, Settings)
        except secret_managers.SecretManagerUnreachable as error:
            mistakes.append(f"FLORIN_SECRETS_FROM: {error}")
    return values, mistakes


def _value(name: str, environ: Mapping[str, str]) -> tuple[str | None, list[str]]:
    named = environ.get(f"{name}_FILE")
    if not named:
        return environ.get(name) or None, []
    try:
        with Path(named).open("rb") as file:
            text = file.read(_FILE_MAX + 1).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        return None, [f"{name}_FILE: {error.strerror}: {named}"]
    except UnicodeDecodeError:
        return None, [f"{name}_FILE: is not text: {named}"]
    if not text.strip() or len(text) > _FILE_MAX:
        return None, [f"{name}_FILE: is {'too large' if text.strip() else 'empty'}: {named}"]
    return text, []


def _message(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {'is missing' if problem['type'] == 'missing' else text}"


def _hint(mistake: str, environ: Mapping[str, str]) -> str:
    """Add to an error what was probably intended."""
    name, _, what = mistake.partition(": ")
    if what == "is missing":
        unknown = [each for each in environ if each not in variable_names()]
        meant = get_close_matches(name, unknown, 1, 0.85)
        return f"{mistake}; {meant[0]} is set: is {name} meant?" if meant else mistake
    if environ.get(name, "").startswith("tcp://"):
        return f"{mistake} (Kubernetes sets it for a service: enableServiceLinks: false)"
    return mistake
