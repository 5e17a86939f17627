"""Options: the options of `florin up`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Algorithm, Kind
from florin.ops.planning.autoscaling import ScalingLimits
from florin.ops.system.console import OperatorError


def florin_command(*words: str) -> tuple[str, ...]:
    """Return the command that runs one process of Florin. -P: no imports from the directory."""
    return (sys.executable, "-P", "-m", "florin", *words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The commands of the product's processes, which this package starts."""

    api: tuple[str, ...] = field(default_factory=lambda: florin_command("api"))
    worker: tuple[str, ...] = field(default_factory=lambda: florin_command("worker"))
    operator: tuple[str, ...] = field(default_factory=lambda: florin_command("operator"))
    # None: no mailbox.
    mailbox: tuple[str, ...] | None = field(default_factory=lambda: florin_command("keep-mails"))
    migrate: tuple[str, ...] = field(default_factory=lambda: florin_command("migrate"))
    demo: tuple[str, ...] = field(default_factory=lambda: florin_command("demo-merchant", "--json"))
    gate: tuple[str, ...] = field(default_factory=lambda: florin_command("gate"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedState:
    """What the options change in the desired state; None keeps the stored value."""

    api: int | None = None
    workers: int | Literal["auto"] | None = None
    replicas: int | None = None
    valkey: Kind | None = None
    algorithm: Algorithm | None = None

    def applied_to(self, kept: DesiredState) -> DesiredState:
        workers = kept.workers if self.workers is None else self.workers
        return replace(
            kept,
            api=kept.api if self.api is None else self.api,
            workers=None if workers == "auto" else workers,
            replicas=kept.replicas if self.replicas is None else self.replicas,
            valkey=self.valkey or kept.valkey,
            algorithm=self.algorithm or kept.algorithm,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    home: Home
    environ: Mapping[str, str]
    port: int | None = None  # None: the current one, else the default
    operations_port: int | None = None  # None: the current one, else the next after the public one
    api: int | None = None  # instances; None: the desired state
    workers: int | Literal["auto"] | None = None  # None: the desired state
    limits: ScalingLimits | None = None  # None: derived from the machine and its database
    scale_every_s: float = 5.0
    replicas: int | None = None  # of PostgreSQL; None: the desired state
    valkey: Kind | None = None  # None: the desired state
    algorithm: Algorithm | None = None  # None: the desired state
    tls: tuple[Path, Path] | None = None  # certificate and key; None: the current ones
    as_json: bool = False
    detached: bool = False  # this process is the supervisor in the background
    commands: Commands = field(default_factory=Commands)

    @property
    def host(self) -> str:
        return self.environ.get("FLORIN_HOST") or "127.0.0.1"

    @property
    def development(self) -> bool:
        return self.environ.get("FLORIN_ENV", "development") == "development"

    @property
    def keeps_mails(self) -> bool:
        """Whether mails go into the mailbox: outside production, if no mail server is named."""
        production = self.environ.get("FLORIN_ENV") == "production"
        return self.commands.mailbox is not None and not production and not self.given("SMTP_HOST")

    @property
    def checkout(self) -> Path | None:
        named = self.environ.get("FLORIN_CHECKOUT")
        return Path(named) if named else None

    @property
    def requested(self) -> RequestedState:
        return RequestedState(
            api=self.api,
            workers=self.workers,
            replicas=self.replicas,
            valkey=self.valkey,
            algorithm=self.algorithm,
        )

    @property
    def database_url(self) -> str | None:
        """The database that the operator named; None: the fleet runs its own PostgreSQL."""
        return self.given("DATABASE_URL_PRIMARY") or self.given("DATABASE_URL")

    @property
    def redis_url(self) -> str | None:
        """The Valkey that the operator named; None: the fleet runs its own."""
        return self.given("REDIS_URL")

    def given(self, name: str) -> str | None:
        return given_variable(self.environ, name)


def given_variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable's value, also from the file that NAME_FILE names."""
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            raise OperatorError(f"{name}_FILE={path} cannot be read: {error.strerror}.") from None
    return environ.get(name) or None
