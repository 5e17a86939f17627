"""Settings: read once from the environment, typed, and loud: every mistake in one message.

`NAME_FILE` names a file that holds the value of `NAME`, for mounted secrets.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SECRET_MIN = 32  # characters: 128 bits even when it is hexadecimal


class SettingsWrong(Exception):
    """What is wrong, one line a mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Settings(BaseSettings):
    """Every variable Florin reads. Secrets never appear in its representation."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=True, hide_input_in_errors=True
    )

    env: Literal["development", "test", "production"] = Field(
        default="production", validation_alias="FLORIN_ENV", description="Where this runs."
    )
    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="PostgreSQL, as the role of the application; ?connection_limit=&pool_timeout=.",
    )
    database_url_primary: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL_PRIMARY",
        description="The primary, where it is named apart from the replicas.",
    )
    database_url_owner: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL_OWNER",
        description="The role that owns the schema; only `florin migrate` uses it.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        description="Valkey or Redis; rebuildable state.",
    )
    jwt_secret: SecretStr = Field(validation_alias="JWT_SECRET", description="Signs access tokens.")
    jwt_refresh_secret: SecretStr = Field(
        validation_alias="JWT_REFRESH_SECRET", description="Signs refresh tokens."
    )
    code_pepper: SecretStr = Field(
        validation_alias="FLORIN_CODE_PEPPER", description="Keys the hash of card codes."
    )
    key_pepper: SecretStr = Field(
        validation_alias="FLORIN_KEY_PEPPER", description="Keys the hash of API keys."
    )
    seal_key: SecretStr = Field(
        validation_alias="FLORIN_SEAL_KEY",
        description="Seals codes until they are delivered; at least 32 characters.",
    )
    host: str = Field(
        default="127.0.0.1", validation_alias="FLORIN_HOST", description="Address to listen on."
    )
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        validation_alias="FLORIN_PORT",
        description="Port to listen on.",
    )
    signup: Literal["open", "closed"] = Field(
        default="open",
        validation_alias="FLORIN_SIGNUP",
        description="Whether anybody may register.",
    )
    instance: str = Field(
        default="api", validation_alias="FLORIN_INSTANCE", description="This process, in logs."
    )
    release: str = Field(
        default="unknown", validation_alias="FLORIN_RELEASE", description="What runs, in health."
    )
    log_level: Literal["debug", "info", "warn", "error"] = Field(
        default="info",
        validation_alias="FLORIN_LOG_LEVEL",
        description="Least level that is logged.",
    )
    single_role: Literal["refuse", "accept"] = Field(
        default="refuse",
        validation_alias="FLORIN_SINGLE_ROLE",
        description="Whether production may run as the owner of the ledger.",
    )

    SECRETS: ClassVar[tuple[str, ...]] = (
        "jwt_secret",
        "jwt_refresh_secret",
        "code_pepper",
        "key_pepper",
        "seal_key",
    )

    @field_validator("jwt_secret", "jwt_refresh_secret", "code_pepper", "key_pepper", "seal_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < SECRET_MIN:
            msg = f"is shorter than {SECRET_MIN} characters; `openssl rand -base64 32` makes one"
            raise ValueError(msg)
        return value

    @field_validator("database_url", "database_url_primary", "database_url_owner")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in {
            "postgres",
            "postgresql",
        }:
            msg = "must begin with postgresql://"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        values = [getattr(self, name).get_secret_value() for name in self.SECRETS]
        if len(set(values)) != len(values):
            msg = "the secrets must differ from each other"
            raise ValueError(msg)
        return self

    @property
    def primary_url(self) -> str:
        return (self.database_url_primary or self.database_url).get_secret_value()

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


def read(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises SettingsWrong with every mistake, by variable."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for name in names():
        if f"{name}_FILE" in environ:
            try:
                values[name] = Path(environ[f"{name}_FILE"]).read_text("utf-8").rstrip("\r\n")
            except OSError as error:
                mistakes.append(f"{name}_FILE: {error.strerror}: {environ[f'{name}_FILE']}")
        elif environ.get(name, "") != "":
            values[name] = environ[name]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for problem in error.errors():
            where = str(problem["loc"][0]) if problem["loc"] else "secrets"
            if not any(mistake.startswith(f"{where}_FILE:") for mistake in mistakes):
                what = problem["msg"].removeprefix("Value error, ")
                mistakes.append(
                    f"{where}: {'is missing' if problem['type'] == 'missing' else what}"
                )
        raise SettingsWrong(mistakes) from None
    if mistakes:
        raise SettingsWrong(mistakes)
    return settings


def names() -> list[str]:
    """The variables, in the order in which they are documented."""
    return [str(field.validation_alias) for field in Settings.model_fields.values()]
