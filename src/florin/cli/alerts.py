"""Alerts: what fires, silences, and a test of the receivers."""

import asyncio
import os
import re
import secrets
import time
from typing import Annotated, Any, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.fleet.audit_log import append_operation, operator_name
from florin.ops.fleet.home import Home
from florin.ops.system.console import OperatorError, say

_TEST_WITHIN_S = 45.0
_POLL_S = 0.3
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def alerts(
    verb: Annotated[Literal["list", "test", "silence"], typer.Argument()] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Alert to silence, or all.")
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long to silence: 30m, 1h, 2d; 0m ends it."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List alerts, send a test to every receiver, or silence an alert for a while."""
    chosen = home_of(home)
    if verb == "silence":
        if name is None or for_ is None:
            raise OperatorError("Use: florin alerts silence NAME --for 1h.")
        document, text = _silence(chosen, name, _seconds(for_))
    elif name is not None or for_ is not None:
        raise OperatorError(f"Use: florin alerts {verb}, and nothing more.")
    elif verb == "test":
        document, text = asyncio.run(_test(chosen))
    else:
        document, text = asyncio.run(_list(chosen))
    print(msgspec.json.encode(document).decode() if as_json else text)
    if verb == "test" and not all(each["state"] == "sent" for each in document["receivers"]):
        raise OperatorError("Not every receiver accepted the test.")


async def _list(home: Home) -> tuple[dict[str, Any], str]:
    shown = (await _state(home)).alerts
    document: dict[str, Any] = msgspec.to_builtins(shown)
    lines = [
        f"{each.state:<8}  {each.severity:<6}  since {each.since[:19]}Z"
        f"  {each.name}: {each.summary}"
        + (" (silenced)" if each.silenced else "")
        + (" (symptom of another alert, not sent)" if each.symptom else "")
        + "".join(
            f"\n    {sent.receiver}: {sent.state}"
            + (f" at {sent.at[:19]}Z" if sent.at else "")
            + (f", {sent.tries} failed attempts: {sent.error}" if sent.tries else "")
            for sent in each.deliveries
        )
        for each in (*shown.firing, *shown.ended)
    ]
    lines = lines or ["Nothing fires."]
    lines += [f"Silenced: {each['name']} until {each['until']}" for each in shown.silences]
    named = ", ".join(f"{each.name} ({each.to}): {each.state}" for each in shown.receivers)
    lines.append(f"Receivers: {named or _NO_RECEIVER}.")
    return document, "\n".join(lines)


async def _test(home: Home) -> tuple[dict[str, Any], str]:
    from florin.ops.alerting import orders
    from florin.ops.fleet.operator_folder import ORDERS, operator_folder

    receivers = [each.name for each in (await _state(home)).alerts.receivers]
    if not receivers:
        raise OperatorError(f"No test was sent: {_NO_RECEIVER}. Set one for florin up.")
    wanted = secrets.token_hex(4)
    orders.request_test(operator_folder(home) / ORDERS, wanted)
    say(f"Sending a test to {', '.join(receivers)}.")
    deadline = time.monotonic() + _TEST_WITHIN_S
    results: dict[str, dict[str, Any]] = {}
    while time.monotonic() < deadline and len(results) < len(receivers):
        await asyncio.sleep(_POLL_S)
        done = (await _state(home)).alerts.tests.get(wanted, [])
        results = {each.receiver: msgspec.to_builtins(each) for each in done}
    late = {"state": "failed", "error": f"no answer within {_TEST_WITHIN_S:.0f} s"}
    answers = [{"receiver": each, **late} | results.get(each, {}) for each in receivers]
    lines = [
        f"{each['receiver']}: {'accepted' if each['state'] == 'sent' else each['error']}"
        for each in answers
    ]
    return {"receivers": answers}, "\n".join(lines)


def _silence(home: Home, name: str, seconds: float) -> tuple[dict[str, Any], str]:
    from florin.ops.alerting import orders
    from florin.ops.alerting.conditions import CONDITIONS
    from florin.ops.fleet.operator_folder import ORDERS, operator_folder

    known = [each.name for each in CONDITIONS]
    if name != "all" and name.partition("/")[0] not in known:
        raise OperatorError(f"Unknown alert {name}; choose all or one of: {', '.join(known)}.")
    folder = operator_folder(home)
    if not folder.is_dir():
        raise OperatorError(f"{home.path} has no fleet yet; start it with florin up.")
    now, who = time.time(), operator_name(os.environ)
    silence = orders.Silence(name=name, until=now + seconds, who=who, since=now)
    orders.add_silence(folder / ORDERS, silence)
    append_operation(home, who, f"florin alerts silence {name} --for {seconds / 60:g}m", "done")
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(silence.until))
    text = f"{name} is silenced until {until}." if seconds else f"{name} is not silenced any more."
    return msgspec.to_builtins(silence), text


async def _state(home: Home) -> Any:
    from florin.ops.operator_page.client import read_state

    state = await read_state(home)
    if state is None:
        raise OperatorError(
            f"The operator process of {home.path} does not answer: see florin status, then run"
            " florin up, or florin restart operator."
        )
    return state


def _seconds(text: str) -> float:
    time_ = re.fullmatch(r"([0-9]{1,4})([mhd])", text)
    if time_ is None:
        raise typer.BadParameter("give a time such as 30m, 1h or 2d", param_hint="--for")
    return float(time_[1]) * _UNITS[time_[2]]


_NO_RECEIVER = "no receiver is set (FLORIN_ALERT_EMAIL, SLACK_WEBHOOK_URL, PAGERDUTY_ROUTING_KEY)"
COMMANDS = (("alerts", alerts, "florin alerts silence QueueLate --for 1h"),)
