"""Decision log: every decision about the number of workers with its inputs; can be replayed."""

import os
from pathlib import Path

import msgspec

from florin.ops.fleet.home import Home
from florin.ops.planning.autoscaling import ScalingDecision
from florin.ops.system.console import say

_FILE = "autoscale.jsonl"
_MOST_BYTES = 4 * 2**20  # then the file replaces the old one


class DecisionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line: time (RFC 3339, UTC), number of workers before, decision with its inputs."""

    at: str
    there: int
    decision: ScalingDecision


def append_decision(home: Home, entry: DecisionEntry) -> None:
    """Append a line; a failure, such as a full disk, is only reported."""
    path = home.path / _FILE
    try:
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            path.replace(_old(path))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        say(f"The decision log {path} could not be written: {error.strerror}.")


def read_decisions(home: Home, last: int | None = None) -> list[DecisionEntry]:
    """Return the newest `last` entries, oldest first; a truncated line is left out."""
    path, found = home.path / _FILE, list[DecisionEntry]()
    for each in (_old(path), path):
        if not each.exists():
            continue
        for line in each.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=DecisionEntry))
            except msgspec.DecodeError:
                continue
    return found if last is None else found[-last:]


def replay_differences(entries: list[DecisionEntry]) -> list[DecisionEntry]:
    """Repeat all decisions; return the entries with a different result."""
    return [entry for entry in entries if entry.decision.again() != entry.decision]


def format_decisions(entries: list[DecisionEntry]) -> str:
    lines: list[str] = []
    for entry in entries:
        decision, waiting = entry.decision, 0
        if decision.reading is not None:
            waiting = sum(load.waiting for load in decision.reading.loads)
        lines.append(
            f"{entry.at}  {decision.reason:<9}  {entry.there} -> {decision.workers}"
            f"  (formula: {decision.want}, waiting: {waiting})"
        )
    return "\n".join(lines)


def _old(path: Path) -> Path:
    return path.with_suffix(".old.jsonl")
