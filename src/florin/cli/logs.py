"""Logs: read the fleet's logs and kept mails, and change how much is logged."""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.fleet import audit_log

_FOLLOW_EVERY_S = 0.2
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_Level = Literal["error", "warn", "info", "debug"]


def logs(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="Parts; default: all.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines, too.")] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Age of the oldest line: 10m, 2h, 1d, or an instant."),
    ] = None,
    level: Annotated[_Level, typer.Option(help="Lowest level that is printed.")] = "debug",
    request: Annotated[
        str | None, typer.Option(metavar="ID", help="Only lines of this X-Request-Id.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Print the logs of the fleet's parts as JSON lines, merged by time."""
    from florin.ops.logs import reading
    from florin.ops.logs.entries import LogFilter

    wanted = LogFilter(since=_since(since), level=level, request_id=request)
    # With --follow alone: only what is new, as `tail -f` does.
    only_new = follow and since is None
    found = reading.FleetLogs(home_of(home), list(names or ()), wanted, only_new=only_new)
    try:
        if not only_new:
            _print(found.history())
        while follow:
            _print(found.new_lines(time.time()))
            time.sleep(_FOLLOW_EVERY_S)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def log_level(
    name: Annotated[str, typer.Argument(help="An instance or worker, from florin status.")],
    level: Annotated[_Level, typer.Argument(help="Lowest level that it logs.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the log level of a process while it runs, until it restarts."""
    from florin.ops.logs.level import change_level

    chosen = home_of(home)
    before = asyncio.run(change_level(chosen, name, level))
    audit_log.append_operation(
        chosen, audit_log.operator_name(os.environ), f"florin log-level {name} {level}", "done"
    )
    if as_json:
        document = {"name": name, "level": level, "before": before}
        print(msgspec.json.encode(document).decode())
    else:
        print(f"{name} logs from level {level} on (before: {before}), until it restarts.")


def mailbox(
    mail: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The mail to show, from the list.")
    ] = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="Show the newest mail.")] = False,
    to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only mails to this address.")
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="With --last: wait for the first mail.")
    ] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the mails that a development fleet kept instead of sending, or show one."""
    from florin.ops.mailbox import reading

    if mail is not None and (last or to is not None):
        raise typer.BadParameter("give the id alone, or these", param_hint="--last, --to")
    if wait and not last:
        raise typer.BadParameter("give --last, too", param_hint="--wait")
    chosen = home_of(home)
    if mail is None and not last:
        mails = reading.list_mails(chosen, os.environ, to)
        text, document = reading.format_list(mails), msgspec.json.encode({"mails": mails})
    else:
        shown = (
            reading.find_last_mail(chosen, os.environ, to, wait)
            if mail is None
            else reading.find_mail(chosen, os.environ, mail)
        )
        text, document = reading.format_mail(shown), msgspec.json.encode(shown)
    print(document.decode() if as_json else text)


def _print(lines: Iterable[bytes]) -> None:
    for line in lines:
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _since(text: str | None) -> float:
    if text is None:
        return 0.0
    if match := re.fullmatch(r"([0-9]{1,9})([smhd])", text):
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"give an age such as 10m, 2h or 1d, or an instant such as 2026-01-31T12:00:00Z,"
            f" not {text!r}",
            param_hint="--since",
        ) from None


COMMANDS = (
    ("logs", logs, "florin logs api-1 worker-1 --since 10m --level warn"),
    ("log-level", log_level, "florin log-level api-1 debug"),
    ("mailbox", mailbox, "florin mailbox --last"),
)
