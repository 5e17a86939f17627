"""Variable: the declaration of a variable, and the types of values."""

import ipaddress
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from florin.kit.urls import split_url

SECRET_MIN = 32  # characters: 128 bits even when it is hexadecimal
_POOL = ("connection_limit", "pool_timeout")
_REDIS = re.compile(r"(rediss?|valkeys?)(\+sentinel|\+cluster)?|unix")
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def variable(name: str, meaning: str, default: Any = ..., *, example: str = "", **more: Any) -> Any:
    """Declare a variable, required without a default; `example` is its value in .env.example.

    `default_factory` among `more` makes a default that differs between machines.
    """
    fixed = {} if "default_factory" in more else {"default": default}
    return Field(
        **fixed, validation_alias=name, description=meaning,
        examples=[example] if example else None, **more,
    )  # fmt: skip


def is_local(host: str | None) -> bool:
    return host is None or host in _LOCAL or host.startswith("/")


def _secret(least: int) -> Callable[[SecretStr], SecretStr]:
    def check(value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < least:
            raise ValueError(
                f"is shorter than {least} characters; `openssl rand -base64 32` makes one"
            )
        return value

    return check


def _split(value: str) -> SplitResult:
    try:
        parts = split_url(value)
        if "," not in parts.netloc:  # PostgreSQL's URLs may have several hosts
            _ = parts.port
    except ValueError:  # its message could contain a part of the password
        raise ValueError("is no URL; write special characters of a password as %XX") from None
    return parts


def _postgres(value: SecretStr) -> SecretStr:
    parts = _split(value.get_secret_value())
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError("must begin with postgresql://")
    for key, given in parse_qsl(parts.query, keep_blank_values=True):
        if key == "connection_limit" and not (given.isdecimal() and int(given) > 0):
            raise ValueError(f"connection_limit={given} is not a whole number from 1")
        if key == "pool_timeout" and not _positive(given):
            raise ValueError(f"pool_timeout={given} is not a number of seconds above 0")
        if key not in _POOL and (meant := get_close_matches(key, _POOL, 1, 0.75)):
            raise ValueError(f"has the parameter {key}; is {meant[0]} meant?")
        if key in {"schema", "pgbouncer"}:
            raise ValueError(f"has the parameter {key}, which PostgreSQL does not know; remove it")
    return value


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _several(value: SecretStr) -> SecretStr:
    for each in urls_of(value):
        _postgres(SecretStr(each))
    return value


def urls_of(value: SecretStr | str) -> list[str]:
    """Split a list of URLs at commas; commas between the hosts of one URL are kept."""
    text = value if isinstance(value, str) else value.get_secret_value()
    return [each.strip() for each in re.split(r",\s*(?=postgres)", text)]


def _redis(value: SecretStr) -> SecretStr:
    scheme = value.get_secret_value().partition("://")[0]
    if not _REDIS.fullmatch(scheme):
        raise ValueError("must begin with redis:// or rediss://")
    _split(value.get_secret_value())
    return value


def _web(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with https:// and name a host")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("must be an address alone, without user, query or fragment")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = split_url(_web(value))
    if "*" in value or parts.path or value != value.lower():
        raise ValueError(f"{value} is no origin: https://host or https://host:port, nothing after")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{error} (10.0.0.0/8 is a network, 10.0.0.7 one address)") from None


def _listed(check: Callable[[str], str]) -> BeforeValidator:
    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(check(each.strip()) for each in value.split(",") if each.strip())

    return BeforeValidator(split)


def _spaced(value: Any) -> Any:
    """Split at spaces: a secret may contain commas, but no spaces."""
    return tuple(value.split()) if isinstance(value, str) else value


Key = Annotated[SecretStr, AfterValidator(_secret(SECRET_MIN))]
OtherKeys = Annotated[tuple[Key, ...], BeforeValidator(_spaced)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
PostgresUrls = Annotated[SecretStr, AfterValidator(_several)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
WebUrl = Annotated[str, AfterValidator(_web)]
Origins = Annotated[tuple[str, ...], NoDecode, _listed(_origin)]
Networks = Annotated[tuple[str, ...], NoDecode, _listed(_network)]
