"""Operate: what an operator does to a running fleet."""

import asyncio
import os
import re
import shlex
import sys
import time
from typing import Annotated, Any, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, PlanOption, home_of
from florin.ops.control.socket import send_order
from florin.ops.fleet import audit_log as trail
from florin.ops.fleet.home import Home
from florin.ops.fleet.observe import find_supervisor, observe_fleet
from florin.ops.fleet.orders import Order, Reply
from florin.ops.system.console import OperatorError, say

_Name = Annotated[str, typer.Argument(help="A part's name, from florin status.")]
_AGAIN_WITHIN_S = 60


def scale(
    counts: Annotated[
        list[str], typer.Argument(metavar="PART=N", help="As api=4 workers=2, or workers=auto.")
    ],
    plan: PlanOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how many instances and workers run, without a failed request."""
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
            say(f"It supervises again (pid {now.pid}, {now.release}).")
            return
        time.sleep(0.1)
    raise OperatorError(
        f"The supervisor did not come back; see {chosen.log('supervisor')}; florin up."
    )


def deploy(
    *,
    rolling: Annotated[bool, typer.Option("--rolling", help="A few at a time (default).")] = False,
    blue_green: Annotated[bool, typer.Option("--blue-green", help="Not there yet.")] = False,
    release: Annotated[
        str | None, typer.Option(metavar="REF|PATH", help="Else the checkout as it stands.")
    ] = None,
    plan: PlanOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Not there yet.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Instances replaced at a time.")] = 1,
    soak: Annotated[
        str, typer.Option(metavar="TIME", help="How long each batch is watched for errors.")
    ] = "5s",
    target: Annotated[Literal["local", "compose"], typer.Option()] = "local",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace the release that runs; goes back by itself when the new one does not bear it."""
    if rolling and blue_green:
        raise typer.BadParameter("give this or --blue-green, not both", param_hint="--rolling")
    if blue_green or verify or target != "local":
        what = "--blue-green" if blue_green else "--verify" if verify else "--target compose"
        raise OperatorError(f"{what} is not part of this release yet; florin deploy --rolling is.")
    options: dict[str, Any] = {"plan": plan, "batch": batch, "soak_s": _seconds(soak)}
    options["release"] = os.path.abspath(release) if release and os.path.isdir(release) else release  # noqa: PTH100, PTH112 - a name stays a name
    options["checkout"] = os.environ.get("FLORIN_CHECKOUT")
    _give(home, as_json, "deploy", options=options)


def rollback(
    *,
    plan: PlanOption = False,
    batch: Annotated[int, typer.Option(min=1, help="Instances replaced at a time.")] = 1,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Return to the release before; no request fails."""
    _give(home, as_json, "rollback", options={"plan": plan, "batch": batch})


def failover(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Who takes over.")] = "",
    *,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Also when none is known to have all."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a replica become the primary; requests wait for it, none fails."""
    _give(home, as_json, "failover", to, options={"accept_loss": accept_loss})


def audit(
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="How many lines.")] = 20,
    *,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="The decisions about the number of workers.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="With --autoscale: decide all of them again.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did what to the fleet, when, and how it ended."""
    if autoscale or replay:
        _decided(home_of(home), last, replay=replay, as_json=as_json)
        return
    entries = trail.read_operations(home_of(home), last)
    if as_json:
        print(msgspec.json.encode({"entries": entries}).decode())
    else:
        print(trail.format_operations(entries) or "Nothing was done yet.")


def _decided(home: Home, last: int, *, replay: bool, as_json: bool) -> None:
    from florin.ops.autoscaling import decision_log

    entries = decision_log.read_decisions(home, None if replay else last)
    if not replay:
        document = msgspec.json.encode({"decisions": entries}).decode()
        print(
            document
            if as_json
            else decision_log.format_decisions(entries) or "Nothing was decided yet."
        )
        return
    other = decision_log.replay_differences(entries)
    equal = len(entries) - len(other)
    if as_json:
        print(msgspec.json.encode({"decisions": len(entries), "equal": equal}).decode())
    else:
        print(f"{equal} of {len(entries)} decisions come out the same.")
    if other:
        raise OperatorError(f"The one of {other[0].at} does not: it was made by other code.")


def _give(
    option: Any, as_json: bool, verb: str, name: str = "", *, options: dict[str, Any] | None = None
) -> None:
    """Give an order to the supervisor and show how it goes."""
    home: Home = home_of(option)
    if find_supervisor(observe_fleet(home)) is None:
        raise OperatorError(
            f"No supervisor runs in {home.path}; florin up starts one and adopts what runs."
        )
    what = f"florin {shlex.join(sys.argv[1:])}"
    who = trail.operator_name(os.environ)
    wanted = Order(verb=verb, name=name, who=who, what=what, options=options or {})
    try:
        reply: Reply = asyncio.run(send_order(home, wanted, report=say))
    except KeyboardInterrupt:
        say("The supervisor goes on with it; florin audit shows how it ends.")
        raise
    if as_json and reply.document is not None:
        print(msgspec.json.encode(reply.document).decode())
    if not reply.done:
        raise OperatorError(reply.said)
    if not as_json:
        print(reply.said)


def _count(word: str) -> tuple[str, str]:
    part, _, count = word.partition("=")
    if part == "workers" and re.fullmatch(r"auto|\d+", count):
        return part, count
    if part != "api" or not re.fullmatch(r"\d+", count):
        raise typer.BadParameter(f"{word} is neither api=N nor workers=N|auto", param_hint="PART=N")
    return part, count


def _seconds(word: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", word)
    if found is None:
        raise typer.BadParameter("give a time such as 5s, 500ms or 1m", param_hint="--soak")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[2] or "s"]


COMMANDS = (
    ("scale", scale, "florin scale api=4"),
    ("balance", balance, "florin balance leastconn"),
    ("deploy", deploy, "florin deploy --rolling --plan"),
    ("rollback", rollback, "florin rollback"),
    ("drain", drain, "florin drain api-2"),
    ("restart", restart, "florin restart api-1"),
    ("failover", failover, "florin failover --to postgres-2"),
    ("audit", audit, "florin audit -n 50"),
)
