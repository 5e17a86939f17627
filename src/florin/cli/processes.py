"""Processes: the commands that run one process of Florin."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from florin.cli import healthy as container
from florin.cli.bench import bench
from florin.cli.database_url import know_engines
from florin.cli.demo import demo, demo_merchant, gate
from florin.cli.doctor import doctor
from florin.cli.lazy_import import call, run_api
from florin.cli.options import HomeOption, JsonOption, PlanOption, home_of


def api() -> None:
    """Serve the API as one process, configured by the environment only."""
    raise typer.Exit(run_api())


def healthy() -> None:
    """Exit with 0 if what this container's role serves answers, for its health check."""
    raise typer.Exit(container.main())


def migrate(
    plan: PlanOption = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove SQL functions of releases that no longer run."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Migrate the database to the schema of this release: expand first, contract later."""
    know_engines(home_of(home))
    raise typer.Exit(
        call("florin.kit.postgres.migrate_command", only_plan=plan, prune=prune, as_json=as_json)
    )


def operator() -> None:
    """Serve the operator's page and state as one process that only reads, on one port."""
    raise typer.Exit(call("florin.ops.operator_page.main"))


def keep_mails() -> None:
    """Keep the mails of a development fleet; `florin up` starts it."""
    raise typer.Exit(call("florin.ops.mailbox.main"))


def renew_certificate(
    *,
    socket: Annotated[Path, typer.Option(metavar="FILE", help="HAProxy's socket.")],
    loaded: Annotated[
        str, typer.Option(metavar="NAME", help="The certificate in HAProxy's configuration.")
    ],
    certificate: Annotated[Path, typer.Option(metavar="FILE", help="Certificate and chain.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Its key.")],
) -> None:
    """Load a certificate that is renewed on disk into a running HAProxy, until stopped."""
    from florin.ops.haproxy.certificate_watch import watch_certificate

    asyncio.run(watch_certificate(socket, loaded, (certificate, key)))


COMMANDS = (
    ("api", api, "DATABASE_URL=postgresql://… florin api"),
    ("operator", operator, "FLORIN_OPERATIONS_PORT=8001 florin operator"),
    ("healthy", healthy, "docker exec CONTAINER florin healthy"),
    ("migrate", migrate, "florin migrate --plan"),
    ("demo", demo, "florin demo"),
    ("bench", bench, "florin bench redeem --against pgbench"),
    ("doctor", doctor, "florin doctor db"),
)
HIDDEN = (
    ("demo-merchant", demo_merchant),
    ("gate", gate),
    ("keep-mails", keep_mails),
    ("renew-certificate", renew_certificate),
)
