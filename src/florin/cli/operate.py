"""Operate: the commands that change a running fleet."""

import asyncio
import os
import re
import shlex
import sys
import time
from typing import Annotated, Any, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, PlanOption, home_of, whole_number
from florin.ops.control.socket import send_order
from florin.ops.fleet import audit_log as trail
from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import find_supervisor, observe_fleet
from florin.ops.fleet.orders import Order, Reply
from florin.ops.system.console import OperatorError, say

Engine = Literal["compose", "swarm", "kubernetes"]
Target = Literal["local", Engine]
_TargetOption = Annotated[
    Target,
    typer.Option("--target", help="What runs the release; all but local take an image."),
]
_Name = Annotated[str, typer.Argument(help="A part's name, from florin status.")]
_AGAIN_WITHIN_S = 60


def scale(
    counts: Annotated[
        list[str],
        typer.Argument(metavar="PART=N", help="For example api=4 workers=2, or workers=auto."),
    ],
    plan: PlanOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the number of instances and workers without failed requests."""
    wanted = dict(_count(word) for word in counts)
    _give(home, as_json, "scale", options={**wanted, "plan": plan})


def balance(
    algorithm: Annotated[Literal["roundrobin", "leastconn", "iphash"], typer.Argument()],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch the balancer's algorithm while it runs."""
    _give(home, as_json, "balance", algorithm)


def drain(name: _Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take one instance out of the balancer and let it finish; restart brings it back."""
    _give(home, as_json, "drain", name)


def restart(name: _Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop one part and start it again; an instance is drained first and no request fails."""
    chosen = home_of(home)
    before = find_supervisor(observe_fleet(chosen))
    _give(home, as_json, "restart", name)
    if name != "supervisor" or before is None:
        return
    deadline = time.monotonic() + _AGAIN_WITHIN_S
    while time.monotonic() < deadline:
        now = find_supervisor(observe_fleet(chosen))
        if now is not None and now.state == "ready" and now.since != before.since:
            say(f"The supervisor runs again (pid {now.pid}, {now.release}).")
            return
        time.sleep(0.1)
    raise OperatorError(
        f"The supervisor did not restart: see {chosen.log('supervisor')}, then run florin up."
    )


def deploy(
    *,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Replace a few instances at a time (default).")
    ] = False,
    blue_green: Annotated[
        bool,
        typer.Option("--blue-green", help="Start a full second set and switch to it in one step."),
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="REF|PATH|IMAGE", help="Release to deploy; default: the current checkout."
        ),
    ] = None,
    plan: PlanOption = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Send requests of a test merchant meanwhile; promote only if none fails and the"
            " ledger equals the client's log.",
        ),
    ] = False,
    batch: Annotated[int, whole_number(least=1, help="Instances replaced at a time.")] = 1,
    soak: Annotated[
        str, typer.Option(metavar="TIME", help="How long to watch each batch for errors.")
    ] = "5s",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="--blue-green: how long the old set stays; default 10m, 0s: not."
        ),
    ] = None,
    target: _TargetOption = "local",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a release; roll back automatically if its instances fail or get worse."""
    _require_one_way(rolling=rolling, blue_green=blue_green, keep=keep)
    options: dict[str, Any] = {"plan": plan, "batch": batch, "soak_s": _seconds(soak, "--soak")}
    options |= {"blue_green": True} if blue_green else {}
    options |= {"verify": True} if verify else {}
    options |= {"keep_s": _seconds(keep, "--keep")} if keep is not None else {}
    if target != "local":
        _deploy_image(target, release, options, as_json=as_json)
        return
    options["release"] = os.path.abspath(release) if release and os.path.isdir(release) else release  # noqa: PTH100, PTH112 - a Git ref is passed on as it is
    options["checkout"] = os.environ.get("FLORIN_CHECKOUT")
    _give(home, as_json, "deploy", options=options)


def rollback(
    *,
    plan: PlanOption = False,
    batch: Annotated[int, whole_number(least=1, help="Instances replaced at a time.")] = 1,
    target: _TargetOption = "local",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Return to the previous release without failed requests: to the kept instances of a
    blue-green deployment within a second, otherwise by deploying the release before.
    """
    if target != "local":
        _change_release(target, "", {"plan": plan, "batch": batch}, back=True, as_json=as_json)
        return
    _give(home, as_json, "rollback", options={"plan": plan, "batch": batch})


def _require_one_way(*, rolling: bool, blue_green: bool, keep: str | None) -> None:
    if rolling and blue_green:
        raise typer.BadParameter("give one of them", param_hint="--rolling, --blue-green")
    if keep is not None and not blue_green:
        raise typer.BadParameter("only --blue-green keeps the old set", param_hint="--keep")


def _deploy_image(
    engine: Engine, image: str | None, options: dict[str, Any], *, as_json: bool
) -> None:
    if not image:
        raise typer.BadParameter(f"--target {engine} needs an image", param_hint="--release")
    keep_s = options.pop("keep_s", None)
    if keep_s:
        raise typer.BadParameter(
            f"with --target {engine} the old set stays until the next deployment, or 0s: not at"
            " all",
            param_hint="--keep",
        )
    options["keep"] = keep_s is None
    _change_release(engine, image, options, back=False, as_json=as_json)


def _change_release(
    engine: Engine, image: str, options: dict[str, Any], *, back: bool, as_json: bool
) -> None:
    """Deploy an image to the containers of an engine, or return to the one before (`back`)."""
    if engine == "kubernetes":
        from florin.ops.kubernetes.command import deploy_in_cluster

        deploy_in_cluster(image, options, back=back, as_json=as_json)
    else:
        from florin.ops.containers.release_command import change_release

        change_release(engine, image, options, back=back, as_json=as_json)


def failover(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The replica to promote.")] = "",
    *,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Even if no replica is known to have all commits."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Promote a replica to primary; requests wait for it and do not fail."""
    _give(home, as_json, "failover", to, options={"accept_loss": accept_loss})


def _give(
    option: Any, as_json: bool, verb: str, name: str = "", *, options: dict[str, Any] | None = None
) -> None:
    """Send an order to the supervisor and show its progress."""
    home: Home = home_of(option)
    if find_supervisor(observe_fleet(home)) is None:
        raise OperatorError(
            f"No supervisor runs in {home.path}; florin up starts one and adopts the running parts."
        )
    what = f"florin {shlex.join(sys.argv[1:])}"
    who = trail.operator_name(os.environ)
    wanted = Order(verb=verb, name=name, who=who, what=what, options=options or {})
    try:
        reply: Reply = asyncio.run(send_order(home, wanted, report=say))
    except KeyboardInterrupt:
        say("The supervisor continues; florin audit shows the result.")
        raise
    if as_json and reply.document is not None:
        print(msgspec.json.encode(reply.document).decode())
    if not reply.done:
        raise OperatorError(reply.message)
    if not as_json:
        print(reply.message)


def _count(word: str) -> tuple[str, str]:
    part, _, count = word.partition("=")
    if part == "workers" and re.fullmatch(r"auto|[0-9]+", count):
        return part, count
    if part != "api" or not re.fullmatch(r"[0-9]+", count):
        raise typer.BadParameter(f"{word} is neither api=N nor workers=N|auto", param_hint="PART=N")
    return part, count


def _seconds(word: str, option: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", word)
    if found is None:
        raise typer.BadParameter("give a time such as 5s, 500ms, 10m or 1h", param_hint=option)
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2] or "s"]


COMMANDS = (
    ("scale", scale, "florin scale api=4"),
    ("balance", balance, "florin balance leastconn"),
    ("deploy", deploy, "florin deploy --blue-green --keep 30m"),
    ("rollback", rollback, "florin rollback"),
    ("drain", drain, "florin drain api-2"),
    ("restart", restart, "florin restart api-1"),
    ("failover", failover, "florin failover --to postgres-2"),
)
