"""Processes: the commands that run one process of Florin."""

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


COMMANDS = (
    ("api", api, "DATABASE_URL=postgresql://… florin api"),
    ("operator", operator, "FLORIN_OPERATIONS_PORT=8001 florin operator"),
    ("healthy", healthy, "docker exec CONTAINER florin healthy"),
    ("migrate", migrate, "florin migrate --plan"),
    ("demo", demo, "florin demo"),
    ("bench", bench, "florin bench redeem --against pgbench"),
    ("doctor", doctor, "florin doctor db"),
)
HIDDEN = (("demo-merchant", demo_merchant), ("gate", gate))
