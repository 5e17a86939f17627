"""Process: the environment, listeners, shutdown, access rules and fleet of a process."""

import socket
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
        "Port for metrics and health, without authentication; none by default.",
        None,
        ge=1,
        le=65535,
        example="9000",
    )
    operations_host: str = variable(
        "FLORIN_OPERATIONS_HOST",
        "Address of that port; use another than loopback only in a private network.",
        "127.0.0.1",
    )
    public_url: WebUrl | None = variable(
        "FLORIN_PUBLIC_URL",
        "URL of Florin for users and payment providers; with `https` responses have HSTS.",
        None,
        example="https://cards.example.com",
    )
    operator_url: WebUrl | None = variable(
        "FLORIN_OPERATOR_URL",
        "Address of the operator process, whose page instances show at `/operator` to owners of"
        " merchants in `FLORIN_OPERATORS`; `florin up` and the files in `deploy` set it.",
        None,
        example="http://operator:8001",
    )
    instance: str = variable(
        "FLORIN_INSTANCE",
        "Name of this process in logs and metrics; without it the host's name.",
        default_factory=socket.gethostname,
    )
    release: str = variable("FLORIN_RELEASE", "Release in logs and health.", "unknown")
    log_level: Literal["debug", "info", "warn", "error"] = variable(
        "FLORIN_LOG_LEVEL", "Lowest level that is logged.", "info"
    )


class ShutdownSettings(BaseSettings):
    """Connections and shutdown"""

    idle_s: float = variable(
        "FLORIN_IDLE_S",
        "Seconds an idle connection is kept open; more than the balancer's idle timeout.",
        75.0,
        gt=0,
    )
    drain_s: float = variable(
        "FLORIN_DRAIN_S",
        "Seconds of serving after SIGTERM, not ready any more, so that balancers react.",
        4.0,
        ge=0,
    )
    drain_max_s: float = variable(
        "FLORIN_DRAIN_MAX_S",
        "Seconds after which no more requests are accepted, even if some still arrive.",
        10.0,
        ge=0,
    )
    finish_s: float = variable(
        "FLORIN_FINISH_S", "Seconds that requests in flight then have to finish.", 30.0, gt=0
    )


class AccessSettings(BaseSettings):
    """Access"""

    signup: Literal["open", "closed"] | None = variable(
        "FLORIN_SIGNUP",
        "Whether anyone may register a merchant; closed in production, else open."
        " `florin merchant add` creates merchants while it is closed.",
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
        "Networks whose `X-Forwarded-For` is trusted: only those of your balancers.",
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
        "Whether production may run with the role that owns the ledger, without the role check.",
        "refuse",
    )


class FleetSettings(BaseSettings):
    """The fleet on one machine (`florin up`)"""

    home: str | None = variable(
        "FLORIN_HOME", "Directory of data, logs and generated secrets; `.florin/` by default.", None
    )
    checkout: str | None = variable(
        "FLORIN_CHECKOUT", "The checkout that runs; set by `bin/florin`.", None
    )
    detached: str | None = variable(
        "FLORIN_DETACHED", "Set by `florin up --detach` for the process in the background.", None
    )
    adopt: str | None = variable(
        "FLORIN_ADOPT", "Set by `florin restart supervisor` for the new supervisor.", None
    )
    facts: str | None = variable(
        "FLORIN_FACTS",
        "File with the fleet's state for `florin operator`; set by `florin up`.",
        None,
    )
    mailbox: str | None = variable(
        "FLORIN_MAILBOX",
        "Directory of the mails that a development fleet keeps; set by `florin up`.",
        None,
    )
    mailbox_host: str = variable(
        "FLORIN_MAILBOX_HOST",
        "Address that this mailbox listens on; in a container, 0.0.0.0.",
        "127.0.0.1",
    )
    operator: str | None = variable(
        "FLORIN_OPERATOR",
        "Your name, for the lock and the audit trail; by default the system user.",
        None,
        example="alice",
    )
    log_max_mb: int = variable(
        "FLORIN_LOG_MAX_MB",
        "Megabytes from which on a log file in the home is rotated.",
        64,
        ge=1,
        le=10_000,
    )
    log_archives: int = variable(
        "FLORIN_LOG_ARCHIVES", "Rotated files that are kept of each log.", 3, ge=1, le=100
    )
