"""Fleet: start, show and stop the fleet."""

import asyncio
import os
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of, whole_number
from florin.ops.fleet import welcome
from florin.ops.fleet.desired_state import load_desired_state
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.welcome import Welcome
from florin.ops.system.console import say

_DEGRADED = 3
_PORTS = 65_535
_API_MAX = 24
_WORKERS_MAX = 64


def up(
    *,
    port: Annotated[
        int | None,
        whole_number(
            least=1,
            most=_PORTS,
            metavar="PORT",
            help="Port of the balancer; default 8000, or the current one.",
        ),
    ] = None,
    operations_port: Annotated[
        int | None,
        whole_number(
            least=1,
            most=_PORTS,
            metavar="PORT",
            help="Port of the metrics, on loopback; default: the next free one after --port.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once all parts are ready; they run on.")
    ] = False,
    api: Annotated[
        int | None,
        whole_number(
            least=1,
            most=_API_MAX,
            metavar="N",
            help="Instances of the API; default 2, or as last scaled.",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="auto|N", help="Workers; default auto, or as last scaled."),
    ] = None,
    replicas: Annotated[
        int | None,
        whole_number(
            least=0, metavar="N", help="Replicas of PostgreSQL; default 1, or the last number."
        ),
    ] = None,
    valkey: Annotated[
        Literal["single", "sentinel", "cluster"] | None,
        typer.Option(
            help="single: one Valkey; sentinel: one, two replicas and three Sentinels;"
            " cluster: three with a replica each. Default single, or the last one."
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    balance: Annotated[
        Literal["roundrobin", "leastconn", "iphash"] | None,
        typer.Option(help="Balancing algorithm; default roundrobin, or the last one."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    If the fleet already runs, it takes over from the supervisor, applies the options and stops
    nothing.
    """
    from florin.ops.lifecycle.succession import AGAIN, restart_supervisor
    from florin.ops.lifecycle.up import run_fleet

    tls = _validate(tls_cert, tls_key)
    chosen = home_of(home)
    detached = os.environ.pop("FLORIN_DETACHED", "") == "1"
    adopting = os.environ.pop("FLORIN_ADOPT", "") == "1"  # a restart of the same supervisor
    options = UpOptions(
        home=chosen,
        environ=dict(os.environ),
        port=port,
        operations_port=None if adopting else operations_port,
        api=None if adopting else api,
        workers=None if adopting or workers is None else _workers(workers),
        replicas=None if adopting else replicas,
        valkey=None if adopting else valkey,
        algorithm=None if adopting else balance,
        tls=tls,
        as_json=as_json,
        detached=detached,
    )
    if detach and not detached:
        _detach(options)
        return
    code = run_fleet(options)
    if code == AGAIN:
        restart_supervisor(options)
    raise typer.Exit(code)


def _detach(options: UpOptions) -> None:
    from florin.ops.fleet.options import florin_command
    from florin.ops.lifecycle import takeover
    from florin.ops.lifecycle.background import start_in_background

    before = takeover.find_ready_supervisor(options.home)
    if before is None or takeover.needs_takeover(options, before):
        words = ["up", "--home", str(options.home.path)]
        words += ["--port", str(options.port)] if options.port is not None else []
        if options.operations_port is not None:
            words += ["--operations-port", str(options.operations_port)]
        words += ["--api", str(options.api)] if options.api else []
        words += ["--workers", str(options.workers)] if options.workers is not None else []
        words += ["--replicas", str(options.replicas)] if options.replicas is not None else []
        words += ["--valkey", options.valkey] if options.valkey else []
        words += ["--balance", options.algorithm] if options.algorithm else []
        if options.tls:
            words += ["--tls-cert", str(options.tls[0]), "--tls-key", str(options.tls[1])]
        os.environ["FLORIN_DETACHED"] = "1"
        start_in_background(options.home, florin_command(*words))
        said = "Florin runs in the background"
    else:
        changed = takeover.apply_options(options)
        said = f"Florin already runs (pid {before.pid})"
        said += "; the options were applied" if changed else ""
    shown = _welcome(options)
    print(msgspec.json.encode(shown).decode() if options.as_json else welcome.format_welcome(shown))
    say(f"{said}; florin status shows it, florin down stops it.")


def _welcome(options: UpOptions) -> Welcome:
    leader = options.home.fleet().part("supervisor")
    address = leader.address if leader and leader.address else ""
    tls = load_desired_state(options.home).tls
    return welcome.welcome_of(options.home, f"{'https' if tls else 'http'}://{address}")


def _workers(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > _WORKERS_MAX:
        raise typer.BadParameter(
            f"must be auto or a whole number from 0 to {_WORKERS_MAX}, not {text}",
            param_hint="--workers",
        )
    return int(text)


def _validate(tls_cert: Path | None, tls_key: Path | None) -> tuple[Path, Path] | None:
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("give both or neither", param_hint="--tls-cert, --tls-key")
    for flag, path in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise typer.BadParameter(f"{path} cannot be read", param_hint=flag)
    if tls_cert is None or tls_key is None:
        return None
    return tls_cert.absolute(), tls_key.absolute()


def down(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop the fleet in order, detached or not."""
    from florin.ops.lifecycle.down import stop_fleet as stop

    chosen = home_of(home)
    stopped = stop(chosen)
    if as_json:
        print(msgspec.json.encode({"stopped": stopped, "home": str(chosen.path)}).decode())
    else:
        print("Stopped." if stopped else f"Nothing runs from {chosen.path}.")


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every second.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every part: role, release, state, address, health, load. Exit code 3 when degraded."""
    from florin.ops.diagnostics import status as seen
    from florin.ops.operator_page.client import read_state

    chosen = home_of(home)
    while True:
        # While watching, the operator process is asked: it has read everything already.
        shown = asyncio.run(read_state(chosen)) if watch else None
        if shown is None:
            shown = asyncio.run(seen.read_status(chosen))
        if watch and sys.stdout.isatty():
            print("\033[H\033[2J", end="")
        print(
            msgspec.json.encode(shown).decode() if as_json else seen.format_status(shown),
            flush=True,
        )
        if not watch:
            raise typer.Exit(0 if shown.state == "ready" else _DEGRADED)
        time.sleep(1)


COMMANDS = (
    ("up", up, "florin up --port 8080 --detach"),
    ("down", down, "florin down"),
    ("status", status, "florin status --json"),
)
