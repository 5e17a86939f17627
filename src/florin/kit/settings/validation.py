"""Validation: what must hold between variables. Each takes what was given and names what is
wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from florin.kit.settings import network_rules
from florin.kit.settings.secret_strength import placeholder_reason, weakness_reason
from florin.kit.settings.variable import is_local, urls_of

Given = Mapping[str, str]
KEYS = (
    "JWT_SECRET",
    "JWT_REFRESH_SECRET",
    "FLORIN_CODE_PEPPER",
    "FLORIN_KEY_PEPPER",
    "FLORIN_SEAL_KEY",
)
_WEBHOOK_SECRETS = ("STRIPE_WEBHOOK_SECRET", "PAYPAL_WEBHOOK_ID")
_TOGETHER = (
    ("PAYPAL_CLIENT_ID", "PAYPAL_CLIENT_SECRET"),
    ("SMTP_HOST", "SMTP_FROM"),
    ("SMTP_USER", "SMTP_PASSWORD"),
    ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM"),
    ("BACKUP_ACCESS_KEY_ID", "BACKUP_SECRET_ACCESS_KEY"),
)
_NEED_EVENTS = (
    ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"),
    ("PAYPAL_CLIENT_ID", "PAYPAL_WEBHOOK_ID"),
)
_NEED_ADDRESS = ("STRIPE_SECRET_KEY", "PAYPAL_CLIENT_ID", "SMTP_HOST")
_URLS = (*network_rules.DATABASES, "REDIS_URL")
# What others issue, and how short it never is.
_ISSUED = {
    "STRIPE_SECRET_KEY": 24,
    "STRIPE_WEBHOOK_SECRET": 24,
    "PAYPAL_CLIENT_ID": 16,
    "PAYPAL_CLIENT_SECRET": 16,
    "TWILIO_AUTH_TOKEN": 16,
    "SMTP_PASSWORD": 1,
}
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


def _play_money(given: Given) -> Iterator[str]:
    """Real money outside production is an accident; so are keys of two worlds."""
    live = [
        name
        for name in ("STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY")
        if "_live_" in given.get(name, "")[:9]
    ]
    if given.get("PAYPAL_MODE") == "live":
        live.append("PAYPAL_MODE")
    if not _production(given):
        yield from (f"{name}: takes real money; only FLORIN_ENV=production may" for name in live)
    both = ("STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY")
    if all(name in given for name in both) and len({name in live for name in both}) > 1:
        yield "STRIPE_PUBLISHABLE_KEY: is not of the same mode as STRIPE_SECRET_KEY"


def _strong(given: Given) -> Iterator[str]:
    for name in KEYS:
        if name in given and (why := weakness_reason(given[name])):
            yield f"{name}: {why}; `openssl rand -base64 32` makes a good one"


def _no_default_password(given: Given) -> Iterator[str]:
    for name in _URLS:
        if any(map(_tried_first, urls_of(given.get(name, "")))):
            yield f"{name}: has a password that anybody would try first"


def _tried_first(url: str) -> bool:
    try:
        parts = urlsplit(url)
        password = unquote(parts.password or "").lower()
    except ValueError:
        return False  # told by the variable itself
    return password in {*_DEFAULT_PASSWORDS, unquote(parts.username or "").lower()} - {""}


def _really_issued(given: Given) -> Iterator[str]:
    for name, least in _ISSUED.items():
        value = given.get(name)
        if value is None:
            continue
        if value.lower() in _DEFAULT_PASSWORDS:
            yield f"{name}: is one that anybody would try first"
        elif len(value) < least:
            yield f"{name}: is shorter than any that is issued"
        elif why := placeholder_reason(value):
            yield f"{name}: {why}"


def _events(given: Given) -> Iterator[str]:
    for provider, needed in _NEED_EVENTS:
        if provider in given and needed not in given:
            yield f"{needed}: is missing, {provider} needs it to confirm a payment"


def _address(given: Given) -> Iterator[str]:
    url = given.get("FLORIN_PUBLIC_URL")
    needing = next((name for name in _NEED_ADDRESS if name in given), None)
    if url is None and needing is not None:
        yield f"FLORIN_PUBLIC_URL: is missing, {needing} needs it for the links it sends"
    if url is not None and url.startswith("http://") and not is_local(urlsplit(url).hostname):
        yield "FLORIN_PUBLIC_URL: must begin with https:// in production"


_ALWAYS: tuple[Callable[[Given], Iterator[str]], ...] = (
    _a_database,
    _distinct,
    _together,
    _play_money,
)
_IN_PRODUCTION: tuple[Callable[[Given], Iterator[str]], ...] = (
    _strong,
    _no_default_password,
    _really_issued,
    _events,
    _address,
    network_rules.open_proxies,
    network_rules.plain_redis,
    network_rules.plain_databases,
)


def rule_violations(given: Given) -> list[str]:
    """Every mistake, as `NAME: what`."""
    rules = (*_ALWAYS, *(_IN_PRODUCTION if _production(given) else ()))
    return [mistake for rule in rules for mistake in rule(given)]


def drop_empty_secrets(environ: Given) -> list[str]:
    """An empty secret of a webhook would let everybody sign: left out is meant, or forgotten?"""
    return [
        f"{name}: is empty; leave it out, or give it its value"
        for name in _WEBHOOK_SECRETS
        if name in environ and not environ[name].strip()
    ]


def rule_remarks(given: Given) -> list[str]:
    """What is allowed and yet hardly meant."""
    if not _production(given):
        return []
    said: list[str] = []
    if "REDIS_URL" not in given:
        said.append("REDIS_URL: is missing; each instance counts attempts for itself")
    if "FLORIN_PUBLIC_URL" not in given:
        said.append("FLORIN_PUBLIC_URL: is missing; answers carry no HSTS")
    if "_test_" in given.get("STRIPE_SECRET_KEY", "")[:9]:
        said.append("STRIPE_SECRET_KEY: is a test key; nobody is charged")
    for name in ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER"):
        try:
            parts = urlsplit(given.get(name, ""))
        except ValueError:
            continue
        if name in given and not is_local(parts.hostname) and "sslmode=" not in parts.query:
            said.append(f"{name}: names no sslmode; sslmode=verify-full makes sure who answers")
    return said


def _production(given: Given) -> bool:
    return given.get("FLORIN_ENV", "production") == "production"
