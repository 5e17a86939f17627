"""Process: what this process is, where it listens, who may ask."""

from typing import Literal

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import Networks, Origins, WebUrl, variable


class ProcessSettings(BaseSettings):
    """This process"""

    env: Literal["development", "test", "production"] = variable(
        "FLORIN_ENV",
        "Where this runs. `production` refuses weak secrets; `florin up` takes `development`.",
        "production",
    )
    host: str = variable("FLORIN_HOST", "Address to listen on; `0.0.0.0` for all.", "127.0.0.1")
    port: int = variable("FLORIN_PORT", "Port to listen on.", 8000, ge=1, le=65535)
    operations_port: int | None = variable(
        "FLORIN_OPERATIONS_PORT",
        "Port for metrics and health, which ask for no credentials; none by default.",
        None,
        ge=1,
        le=65535,
        example="9000",
    )
    operations_host: str = variable(
        "FLORIN_OPERATIONS_HOST",
        "Address of that port; only for a network of your own another than loopback.",
        "127.0.0.1",
    )
    public_url: WebUrl | None = variable(
        "FLORIN_PUBLIC_URL",
        "Where people and payment providers reach Florin; with `https` answers carry HSTS.",
        None,
        example="https://cards.example.com",
    )
    instance: str = variable("FLORIN_INSTANCE", "What this process is called in logs.", "api")
    release: str = variable("FLORIN_RELEASE", "What runs, as logs and health say it.", "unknown")
    log_level: Literal["debug", "info", "warn", "error"] = variable(
        "FLORIN_LOG_LEVEL", "Least level that is logged.", "info"
    )


class ShutdownSettings(BaseSettings):
    """How it keeps connections, and lets go of them when it stops"""

    idle_s: float = variable(
        "FLORIN_IDLE_S",
        "Seconds it keeps an idle connection; more than a balancer before it does.",
        75.0,
        gt=0,
    )
    drain_s: float = variable(
        "FLORIN_DRAIN_S",
        "Seconds it still serves after SIGTERM, not ready any more, so that balancers notice.",
        4.0,
        ge=0,
    )
    drain_max_s: float = variable(
        "FLORIN_DRAIN_MAX_S",
        "Seconds after which it takes no more requests although some still arrive.",
        10.0,
        ge=0,
    )
    finish_s: float = variable(
        "FLORIN_FINISH_S", "Seconds that requests in flight then have to finish.", 30.0, gt=0
    )


class AccessSettings(BaseSettings):
    """Who may do what"""

    signup: Literal["open", "closed"] | None = variable(
        "FLORIN_SIGNUP",
        "Whether anyone may register a merchant; closed in production, else open."
        " `florin merchant add` makes merchants where it is closed.",
        None,
        example="closed",
    )
    verify_email: Literal["required", "off"] | None = variable(
        "FLORIN_VERIFY_EMAIL",
        "Whether a member must verify the e-mail address before bulk jobs, API keys, event streams"
        " and webhooks; required in production, else off.",
        None,
        example="required",
    )
    cors_origins: Origins = variable(
        "FLORIN_CORS_ORIGINS",
        "Origins whose web pages may call the API, exact, with commas between; none by default.",
        (),
        example="https://shop.example.com,https://till.example.com",
    )
    trusted_proxies: Networks = variable(
        "FLORIN_TRUSTED_PROXIES",
        "Networks whose `X-Forwarded-For` is believed: your balancers, nobody else.",
        (),
        example="10.0.0.0/8",
    )
    webhook_allow: Networks | None = variable(
        "FLORIN_WEBHOOK_ALLOW",
        "Internal networks that webhooks may be sent to; in development loopback, else none.",
        None,
        example="10.20.0.0/16",
    )
    single_role: Literal["refuse", "accept"] = variable(
        "FLORIN_SINGLE_ROLE",
        "Whether production may run with the role that owns the ledger, without the second belt.",
        "refuse",
    )


class FleetSettings(BaseSettings):
    """The fleet on one machine (`florin up`)"""

    home: str | None = variable(
        "FLORIN_HOME", "Where data, logs and made secrets lie; `.florin/` by default.", None
    )
    checkout: str | None = variable(
        "FLORIN_CHECKOUT", "The checkout that runs; `bin/florin` says it.", None
    )
    detached: str | None = variable(
        "FLORIN_DETACHED", "Set by `florin up --detach` for the process in the background.", None
    )
    adopt: str | None = variable(
        "FLORIN_ADOPT", "Set by `florin restart supervisor` for the supervisor that goes on.", None
    )
    operator: str | None = variable(
        "FLORIN_OPERATOR",
        "Who acts, for the lock and the audit trail; else the user of the system.",
        None,
        example="alice",
    )
