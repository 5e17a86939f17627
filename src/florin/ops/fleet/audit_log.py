"""Audit log: who changed the fleet, how, when, and with which outcome. Append-only.

audit_seals.py seals it.
"""

import getpass
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.metrics.definitions import count_operation
from florin.ops.system.console import say

_FILE = "audit.jsonl"


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the log. `outcome` is begun, done, refused, undone, failed or cut off."""

    at: str  # RFC 3339, UTC
    who: str
    what: str
    outcome: str
    message: str = ""
    seconds: float | None = None
    details: dict[str, Any] | None = None  # of a deployment or rollback: releases, verification


def audit_file(home: Home) -> Path:
    return home.path / _FILE


def append_operation(
    home: Home,
    who: str,
    what: str,
    outcome: str,
    *,
    message: str = "",
    begun: float | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Append a line; `begun` is the monotonic time at which the operation began.

    A record with `details` is an event of the fleet: it is logged and sent to the receivers of
    alerts as well.

    One write of one line to a file opened for appending: lines of several writers do not mix. A
    failure, such as a full disk, is only reported: it must not stop the operation.
    """
    count_operation(what, outcome)
    entry = OperationRecord(
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        who=who,
        what=what,
        outcome=outcome,
        message=message,
        seconds=None if begun is None else round(time.monotonic() - begun, 3),
        details=details,
    )
    if details is not None:
        say(f"Event: {msgspec.json.encode(entry).decode()}")
    try:
        handle = os.open(audit_file(home), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A line that a power cut left incomplete must not corrupt this one.
            torn = b"" if _whole(audit_file(home)) else b"\n"
            os.write(handle, torn + msgspec.json.encode(entry) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        say(f"The audit log {audit_file(home)} could not be written: {error.strerror}.")


def _whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return size == 0 or file.read(1) == b"\n"


def read_operations(home: Home, last: int | None = None) -> list[OperationRecord]:
    """Return the newest `last` lines, oldest first. A line truncated by a power cut is left out."""
    try:
        lines = (audit_file(home)).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found: list[OperationRecord] = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=OperationRecord))
        except msgspec.DecodeError:
            continue
    return found if last is None else found[-last:]


def operator_name(environ: Mapping[str, str]) -> str:
    """Return the operator's name: FLORIN_OPERATOR, else the user who ran sudo, else this user."""
    named = environ.get("FLORIN_OPERATOR") or environ.get("SUDO_USER")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def format_operations(entries: list[OperationRecord]) -> str:
    rows = [(entry.at, entry.who, entry.outcome, _story(entry)) for entry in entries]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "\n".join(
        "  ".join([*(word.ljust(w) for word, w in zip(row[:3], widths, strict=True)), row[3]])
        for row in rows
    )


def _story(entry: OperationRecord) -> str:
    took = f" ({entry.seconds:.1f} s)" if entry.seconds is not None else ""
    return f"{entry.what}{took}{f': {entry.message}' if entry.message else ''}"
