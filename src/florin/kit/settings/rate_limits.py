"""Rate limits: limits on wrong codes, requests and connections."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import variable


class RateLimitSettings(BaseSettings):
    """Rate limits"""

    guesses_per_address: int = variable(
        "FLORIN_GUESSES_PER_ADDRESS",
        "Wrong codes a client's address may try in ten minutes; 0 for no limit.",
        30,
        ge=0,
    )
    guesses_per_principal: int = variable(
        "FLORIN_GUESSES_PER_PRINCIPAL",
        "Wrong codes an API key or a member may try in ten minutes; 0 for no limit.",
        120,
        ge=0,
    )
    guesses_per_naming_key: int = variable(
        "FLORIN_GUESSES_PER_NAMING_KEY",
        "Wrong codes in ten minutes through an API key that names its end clients; 0 for no limit.",
        3000,
        ge=0,
    )
    guesses_per_prefix: int = variable(
        "FLORIN_GUESSES_PER_PREFIX",
        "Wrong codes with the same first 8 symbols in ten minutes; 0 for no limit.",
        20,
        ge=0,
    )
    requests_per_minute: int = variable(
        "FLORIN_REQUESTS_PER_MINUTE",
        "Requests an API key or a member may make in a minute; 0 for no limit.",
        0,
        ge=0,
    )
    limit_shares: int = variable(
        "FLORIN_LIMIT_SHARES",
        "Number of instances among which a limit is divided while Redis is unreachable.",
        4,
        ge=1,
    )
    limit_patience_ms: int = variable(
        "FLORIN_LIMIT_PATIENCE_MS",
        "Milliseconds that a request near a limit waits for Redis before the instance decides.",
        5,
        ge=1,
        le=1000,
    )
    connections_per_source: int = variable(
        "FLORIN_CONNECTIONS_PER_SOURCE",
        "Connections that one source address may have open at the balancer of `florin up`; those of"
        " `FLORIN_TRUSTED_PROXIES` are not counted.",
        1_000,
        ge=1,
    )
