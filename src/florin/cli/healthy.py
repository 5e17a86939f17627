"""Healthy: whether what this container's role serves answers, for the health checks of containers.

It runs every few seconds in every container, so it loads neither the command line nor the settings.
Alive is enough: what restarts a container must not do so because the database is away.
"""

import http.client
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_PATH = "/health/live"
_ON_OPERATIONS_PORT = ("worker", "operator")
_TIMEOUT_S = 2.0
_SMTP_OK = 250
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to replace, not to listen on


def main(proc: Path = Path("/proc")) -> int:
    """Serve `florin healthy`; return the exit code. `proc`: where processes are listed."""
    role = _role(proc)
    if role is None:
        return _unhealthy("no process of Florin runs in this container")
    if role == "keep-mails":
        host = _setting("FLORIN_MAILBOX_HOST", "127.0.0.1")
        return _check_mailbox(_ANY.get(host, host), _setting("SMTP_PORT", "0"))
    if role == "api":
        host, port = _setting("FLORIN_HOST", "127.0.0.1"), _setting("FLORIN_PORT", "8000")
    elif role in _ON_OPERATIONS_PORT:
        host = _setting("FLORIN_OPERATIONS_HOST", "127.0.0.1")
        port = _setting("FLORIN_OPERATIONS_PORT", "")
        if not port:
            return _unhealthy(
                f"the {role} answers health checks on its operations port, and it has none:"
                " set FLORIN_OPERATIONS_PORT"
            )
    else:
        print(f"florin {role} runs and serves nothing.")
        return 0
    return _check(role, _ANY.get(host, host), port)


def _check(role: str, host: str, port: str) -> int:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{_PATH}"
    try:
        with closing(http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)) as asking:
            asking.request("GET", _PATH)
            status = asking.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _unhealthy(f"the {role} does not answer at {address}: {error}")
    if status != http.HTTPStatus.OK:
        return _unhealthy(f"the {role} answers {status} at {address}")
    print(f"The {role} is alive.")
    return 0


def _check_mailbox(host: str, port: str) -> int:
    import smtplib  # as long to load as the rest of this check; one role needs it

    try:
        with closing(smtplib.SMTP(host, int(port), timeout=_TIMEOUT_S)) as asking:
            status, _ = asking.noop()
    except (OSError, ValueError) as error:  # errors of smtplib are OSErrors
        return _unhealthy(f"the mailbox does not answer at {host}:{port}: {error}")
    if status != _SMTP_OK:
        return _unhealthy(f"the mailbox answers {status} at {host}:{port}")
    print("The mailbox is alive.")
    return 0


def _unhealthy(reason: str) -> int:
    print(f"florin healthy: {reason}.", file=sys.stderr)
    return 1


def _setting(name: str, default: str) -> str:
    if os.environ.get(f"{name}_FILE"):
        from florin.kit.settings.settings import read_variable

        return read_variable(name) or default
    return os.environ.get(name) or default


def _role(proc: Path) -> str | None:
    """The command of Florin's first process in this container.

    Processes of this container have its control group: process 1 may be an init, and
    the processes of other containers, or of the host, may be visible.
    """
    here = _text(proc / "self" / "cgroup")
    for number in sorted(int(each.name) for each in proc.iterdir() if each.name.isdigit()):
        if number == os.getpid() or _text(proc / str(number) / "cgroup") != here:
            continue
        command = next(_commands(_text(proc / str(number) / "cmdline").split("\0")), None)
        if command is not None and command != "healthy":
            return command
    return None


def _commands(words: list[str]) -> Iterator[str]:
    """The command in `python -P -m florin --home DIR command` or `python florin command`."""
    for place, word in enumerate(words[1:4], 1):
        is_program = word.endswith("/florin") or (word == "florin" and words[place - 1] == "-m")
        if is_program:
            rest = words[place + 1 :]
            if rest[:1] == ["--home"]:
                rest = rest[2:]
            yield from (each for each in rest[:1] if each and not each.startswith("-"))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:  # it has just ended, or is not ours to see
        return ""
