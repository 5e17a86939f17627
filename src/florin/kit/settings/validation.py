"""Validation: rules between variables. Each rule takes the values and yields the errors."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import unquote

from florin.kit.settings import network_rules
from florin.kit.settings.secret_strength import weakness_reason
from florin.kit.settings.telemetry import telemetry_violations
from florin.kit.settings.variable import is_local, urls_of
from florin.kit.urls import split_url

Given = Mapping[str, str]
KEYS = (
    "JWT_SECRET",
    "JWT_REFRESH_SECRET",
    "FLORIN_CODE_PEPPER",
    "FLORIN_KEY_PEPPER",
    "FLORIN_SEAL_KEY",
)
_TOGETHER = (
    ("BACKUP_ACCESS_KEY_ID", "BACKUP_SECRET_ACCESS_KEY"),
    ("SMTP_USER", "SMTP_PASSWORD"),
    ("PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET"),
    ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"),
)
_URLS = (*network_rules.DATABASES, "REDIS_URL")
_DEFAULT_PASSWORDS = {
    *("postgres", "password", "florin", "secret", "changeme", "change-me", "admin", "root"),
    *("test", "example", "default", "redis", "valkey", "florin_app", "florin_owner"),
}


def _a_database(given: Given) -> Iterator[str]:
    if not ("DATABASE_URL" in given or "DATABASE_URL_PRIMARY" in given):
        yield "DATABASE_URL: is missing"


def _distinct(given: Given) -> Iterator[str]:
    seen: dict[str, str] = {}
    for name in KEYS:
        if name in given and (first := seen.setdefault(given[name], name)) != name:
            yield f"{name}: is the same as {first}; every secret must be its own"


def _together(given: Given) -> Iterator[str]:
    for group in _TOGETHER:
        first = next((name for name in group if name in given), None)
        if first is not None:
            yield from (
                f"{name}: is missing, {first} needs it" for name in group if name not in given
            )


def mail_violations(given: Given) -> list[str]:
    """Errors in the variables of the mail server and the receivers of alerts."""
    return [*_together(given), *_mail(given)]


def _mail(given: Given) -> Iterator[str]:
    if "FLORIN_ALERT_EMAIL" in given and "SMTP_HOST" not in given:
        yield "SMTP_HOST: is missing, FLORIN_ALERT_EMAIL needs it"
    plain = given.get("SMTP_TLS") == "off" and not is_local(given.get("SMTP_HOST"))
    if plain and "SMTP_PASSWORD" in given:
        yield "SMTP_TLS: is off, and the password would be sent unencrypted; use starttls or tls"


def _payments(given: Given) -> Iterator[str]:
    if "STRIPE_WEBHOOK_SECRET" in given and "STRIPE_SECRET_KEY" not in given:
        yield "STRIPE_SECRET_KEY: is missing, STRIPE_WEBHOOK_SECRET needs it"
    if "PAYPAL_WEBHOOK_ID" in given and "PAYPAL_CLIENT_ID" not in given:
        yield "PAYPAL_CLIENT_ID: is missing, PAYPAL_WEBHOOK_ID needs it"
    if "STRIPE_SECRET_KEY" in given and find_spec("stripe") is None:
        yield "STRIPE_SECRET_KEY: needs the package stripe; install florin[stripe]"


def _sms(given: Given) -> Iterator[str]:
    if "TWILIO_ACCOUNT_SID" in given and "FLORIN_PUBLIC_URL" not in given:
        yield "FLORIN_PUBLIC_URL: is missing, TWILIO_ACCOUNT_SID needs it for links and reports"
    url = given.get("TWILIO_URL", "")
    if url.startswith("http://") and not is_local(split_url(url).hostname):
        yield "TWILIO_URL: must begin with https://, since the auth token is sent there"


def _strong(given: Given) -> Iterator[str]:
    for name in KEYS:
        if name in given and (why := weakness_reason(given[name])):
            yield f"{name}: {why}; `openssl rand -base64 32` makes a good one"


def _no_default_password(given: Given) -> Iterator[str]:
    for name in _URLS:
        if any(map(_tried_first, urls_of(given.get(name, "")))):
            yield f"{name}: has a default password; use a random one"


def _tried_first(url: str) -> bool:
    try:
        parts = split_url(url)
        password = unquote(parts.password or "").lower()
    except ValueError:
        return False  # reported by the variable itself
    return password in {*_DEFAULT_PASSWORDS, unquote(parts.username or "").lower()} - {""}


def _address(given: Given) -> Iterator[str]:
    url = given.get("FLORIN_PUBLIC_URL")
    if url is not None and url.startswith("http://") and not is_local(split_url(url).hostname):
        yield "FLORIN_PUBLIC_URL: must begin with https:// in production"


_ALWAYS: tuple[Callable[[Given], Iterator[str]], ...] = (
    _a_database,
    _distinct,
    _together,
    _mail,
    _payments,
    _sms,
    telemetry_violations,
)
_IN_PRODUCTION: tuple[Callable[[Given], Iterator[str]], ...] = (
    _strong,
    _no_default_password,
    _address,
    network_rules.open_proxies,
    network_rules.plain_redis,
    network_rules.plain_databases,
)


def rule_violations(given: Given) -> list[str]:
    """All errors, as `NAME: text`."""
    rules = (*_ALWAYS, *(_IN_PRODUCTION if _production(given) else ()))
    return [mistake for rule in rules for mistake in rule(given)]


def rule_remarks(given: Given) -> list[str]:
    """Warnings about values that are valid but probably not intended."""
    if not _production(given):
        return []
    remarks: list[str] = []
    if "REDIS_URL" not in given:
        remarks.append("REDIS_URL: is missing; each instance counts attempts alone")
    if "FLORIN_PUBLIC_URL" not in given:
        remarks.append("FLORIN_PUBLIC_URL: is missing; responses have no HSTS")
    for name in ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER"):
        try:
            parts = split_url(given.get(name, ""))
        except ValueError:
            continue
        if name in given and not is_local(parts.hostname) and "sslmode=" not in parts.query:
            remarks.append(f"{name}: has no sslmode; sslmode=verify-full verifies the server")
    return remarks


def _production(given: Given) -> bool:
    return given.get("FLORIN_ENV", "production") == "production"
