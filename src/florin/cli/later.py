"""Later: commands whose part is not there yet. They take what they will take, and say so."""

from typing import Annotated, Literal

import typer

from florin.cli.options import HomeOption, JsonOption, PlanOption
from florin.ops.tell import Unable

_Algorithm = Literal["roundrobin", "leastconn", "iphash"]
_Instant = Annotated[str, typer.Option("--at", metavar="TIME", help="An instant, RFC 3339.")]
_Name = Annotated[str, typer.Argument(help="A part's name, from florin status.")]


def _not_yet(what: str, instead: str) -> None:
    raise Unable(f"{what} is not part of this release yet; {instead}.")


def worker(
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at once.")] = 5,
    home: HomeOption = None,
) -> None:
    """Run jobs as one process, configured by the environment only."""
    del concurrency, home
    _not_yet("The worker", "the API needs none so far")


def scale(
    counts: Annotated[list[str], typer.Argument(metavar="PART=N", help="As api=4.")],
    home: HomeOption = None,
) -> None:
    """Change how many instances and workers run, without a failed request."""
    del counts, home
    _not_yet("Scaling", "one instance of the API runs")


def balance(algorithm: _Algorithm, home: HomeOption = None) -> None:
    """Switch the balancer's algorithm while it runs."""
    del algorithm, home
    _not_yet("The balancer", "requests go to the API directly")


def deploy(
    *,
    rolling: Annotated[bool, typer.Option("--rolling")] = False,
    blue_green: Annotated[bool, typer.Option("--blue-green")] = False,
    release: Annotated[str | None, typer.Option(metavar="REF|PATH")] = None,
    plan: PlanOption = False,
    verify: Annotated[bool, typer.Option("--verify")] = False,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    soak: Annotated[str, typer.Option(metavar="TIME")] = "5s",
    target: Annotated[Literal["local", "compose"], typer.Option()] = "local",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace the release that runs."""
    del rolling, blue_green, release, plan, verify, batch, soak, target, home, as_json
    _not_yet("Deploying", "florin down, check out the new release, florin up")


def rollback(home: HomeOption = None) -> None:
    """Return to the release before."""
    del home
    _not_yet("Rolling back", "florin down, check out the release before, florin up")


def drain(name: _Name, home: HomeOption = None) -> None:
    """Take one instance out of the balancer and let it finish."""
    del name, home
    _not_yet("Draining", "there is one instance, and nothing to take its requests")


def failover(
    to: Annotated[str | None, typer.Option("--to", metavar="NAME")] = None,
    accept_loss: Annotated[bool, typer.Option("--accept-loss")] = False,
    home: HomeOption = None,
) -> None:
    """Make a replica the primary."""
    del to, accept_loss, home
    _not_yet("Failover", "there are no replicas")


def backup(home: HomeOption = None) -> None:
    """Take a base backup."""
    del home
    _not_yet("Backing up", "pg_basebackup works with the URL that florin doctor db shows")


def restore(at: _Instant, home: HomeOption = None) -> None:
    """Restore the database as it was at an instant."""
    del at, home
    _not_yet("Restoring", "there are no backups of florin's to restore")


def queue(
    verb: Annotated[
        Literal["list", "failed", "retry", "pause", "resume"], typer.Argument()
    ] = "list",
    names: Annotated[list[str] | None, typer.Argument(metavar="[ID|NAME]…")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look after the queues by hand."""
    del verb, names, home, as_json
    _not_yet("The queue", "there are no jobs")


def alerts(verb: Annotated[Literal["test"], typer.Argument()], home: HomeOption = None) -> None:
    """Send one alert to each receiver."""
    del verb, home
    _not_yet("Alerting", "watch florin status")


def gameday(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Break each part in turn and report how it recovered."""
    del home, as_json
    _not_yet("The game day", "kill a part by hand and watch florin status --watch")


COMMANDS = (
    ("worker", worker, "florin worker --concurrency 5"),
    ("scale", scale, "florin scale api=4 workers=auto"),
    ("balance", balance, "florin balance leastconn"),
    ("deploy", deploy, "florin deploy --rolling --plan"),
    ("rollback", rollback, "florin rollback"),
    ("drain", drain, "florin drain api-2"),
    ("failover", failover, "florin failover --to postgres-2"),
    ("backup", backup, "florin backup"),
    ("restore", restore, "florin restore --at 2030-01-01T12:00:00Z"),
    ("queue", queue, "florin queue failed"),
    ("alerts", alerts, "florin alerts test"),
    ("gameday", gameday, "florin gameday"),
)
