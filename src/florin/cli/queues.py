"""Queues: run a worker, and manage the queues."""

import asyncio
import getpass
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import typer

from florin.cli.lazy_import import call
from florin.cli.options import HomeOption, JsonOption, home_of, whole_number
from florin.ops.system.console import OperatorError

Verb = Literal["list", "failed", "retry", "discard", "pause", "resume"]


def worker(
    concurrency: Annotated[int, whole_number(least=1, most=100, help="Jobs at once.")] = 5,
    one: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    home: HomeOption = None,
) -> None:
    """Run jobs as one process, configured by the environment only."""
    del home
    if not one:
        raise typer.Exit(call("florin.worker", concurrency=concurrency))
    _, job, fence = one
    raise typer.Exit(call("florin.worker", one=(int(job), int(fence))))


def queue(
    verb: Annotated[Verb, typer.Argument()] = "list",
    names: Annotated[list[str] | None, typer.Argument(metavar="[ID|NAME]…")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List queues or dead jobs, retry or discard dead jobs, pause or resume queues."""
    from florin.cli.database_url import know_engines
    from florin.ops.fleet.audit_log import append_operation, operator_name

    given = list(names or ())
    if (verb in ("list", "failed")) is bool(given):
        what = {"retry": "ID…", "discard": "ID…", "pause": "NAME", "resume": "NAME"}.get(verb)
        raise OperatorError(
            f"Use: florin queue {verb}{f' {what}' if what else ', and nothing more'}."
        )
    know_engines(home_of(home))
    url = os.environ.get("DATABASE_URL_PRIMARY") or os.environ.get("DATABASE_URL")
    if not url:
        raise OperatorError("Set DATABASE_URL to the database, or run from a home that is up.")
    document = asyncio.run(_do(url, verb, given))
    place = home_of(home)
    if (
        given and place.path.is_dir()
    ):  # an operation on the fleet, as others that florin audit shows
        append_operation(
            place, operator_name(os.environ), f"queue {verb} {' '.join(given)}", "done"
        )
    print(msgspec.json.encode(document).decode() if as_json else _text(verb, document))


async def _do(url: str, verb: Verb, given: Sequence[str]) -> dict[str, Any]:
    import asyncpg

    from florin.kit.postgres.database import PoolLimits, open_connection
    from florin.kit.postgres.function_sets import use_installed_functions
    from florin.kit.queue import admin, stats

    try:
        connection = await open_connection(PoolLimits(url).dsn, name="florin queue")
    except (OSError, asyncpg.PostgresError) as error:
        raise OperatorError(f"The database cannot be reached: {error}.") from None
    actor = f"operator:{getpass.getuser()}"
    try:
        await use_installed_functions(connection)
        match verb:
            case "list":
                return {
                    "queues": msgspec.to_builtins(await stats.read_queues(connection)),
                    "workers": msgspec.to_builtins(await stats.read_workers(connection)),
                }
            case "failed":
                return {"failed": msgspec.to_builtins(await admin.list_dead_jobs(connection))}
            case "retry":
                await admin.retry_jobs(connection, actor, _ids(given))
            case "discard":
                await admin.discard_jobs(connection, actor, _ids(given))
            case _:
                for name in given:
                    await admin.pause_queue(connection, actor, name, paused=verb == "pause")
    except admin.QueueRequestRefused as refused:
        raise OperatorError(str(refused)) from None
    except asyncpg.PostgresError as error:
        raise OperatorError(f"The database refused: {error}; florin migrate may help.") from None
    finally:
        await connection.close()
    return {verb: list(given)}


def _ids(given: Sequence[str]) -> list[int]:
    if not all(each.isascii() and each.isdecimal() for each in given):
        raise OperatorError("Job ids are numbers; florin queue failed lists them.")
    return [int(each) for each in given]


def _text(verb: Verb, document: dict[str, Any]) -> str:
    if verb == "list":
        return _queues(document["queues"]) + "\n\n" + _workers(document["workers"])
    if verb == "failed":
        dead = document["failed"]
        lines = [
            f"{job['id']:>8}  {job['queue']} {job['kind']}, {job['attempts']} attempts:"
            f" {job['error']}"
            for job in dead
        ]
        return "\n".join(lines) if lines else "There are no dead jobs."
    done = {"retry": "Queued again", "discard": "Discarded"}
    done |= {"pause": "Paused", "resume": "Resumed"}
    return f"{done[verb]}: {', '.join(document[verb])}."


def _queues(queues: list[dict[str, Any]]) -> str:
    head = ("queue", "waiting", "active", "delayed", "dead", "completed", "failed", "oldest")
    rows = [
        (
            queue["name"] + (" (paused)" if queue["paused"] else ""),
            *(str(queue[field]) for field in head[1:7]),
            f"{queue['oldest_s']:.0f} s" if queue["waiting"] else "",
        )
        for queue in queues
    ]
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in (head, *rows)
    )


def _workers(workers: list[dict[str, Any]]) -> str:
    if not workers:
        return "No workers run."
    return "\n".join(
        f"{worker['name']}: {worker['busy']} of {worker['concurrency']} busy, release"
        f" {worker['release']}"
        + (", stopping" if worker["stopping"] else "")
        + (f", silent since {worker['heartbeat_at']}" if worker["silent"] else "")
        for worker in workers
    )


COMMANDS = (
    ("worker", worker, "florin worker --concurrency 5"),
    ("queue", queue, "florin queue failed"),
)
