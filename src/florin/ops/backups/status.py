"""Status: how backups went, written down so that status, metrics and the doctor can tell.

Three things are done: a backup is `taken`, the log is `shipped` off this machine, and that all of
it can be restored is `verified`. Each remembers when it went well last, and why it did not since.
"""

import time
from typing import Any, Literal

import msgspec

from florin.ops.fleet.home import Home, write_file

What = Literal["taken", "shipped", "verified"]
WHATS: tuple[What, ...] = ("taken", "shipped", "verified")
OLD_S = 26 * 3600.0  # a day, and time to be late
_SHIPPED_OLD_S = 300.0
_AHEAD_S = 60.0  # of a clock that is set right now and then


class BackupOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Of one thing: `at` is when it went well last, `why` why it did not since; seconds, Unix."""

    at: float = 0.0
    tried: float = 0.0
    why: str = ""
    more: dict[str, Any] = {}


def record_success(home: Home, what: What, **more: Any) -> None:
    now = time.time()
    _keep(home, what, BackupOutcome(at=now, tried=now, more=more))


def record_failure(home: Home, what: What, why: str) -> None:
    before = read_outcomes(home)[what]
    _keep(home, what, msgspec.structs.replace(before, tried=time.time(), why=why))


def read_outcomes(home: Home) -> dict[What, BackupOutcome]:
    return {what: _read(home, what) for what in WHATS}


def failing_backups(
    found: dict[What, BackupOutcome], now: float, *, runs: bool = True
) -> dict[What, str]:
    """What is wrong, each with a sentence; nothing of what was never begun. Pure.

    While nothing runs there is nothing to pass on.
    """
    wrong: dict[What, str] = {what: each.why for what, each in found.items() if each.why}
    limits: dict[What, float] = {"taken": OLD_S, "verified": OLD_S, "shipped": _SHIPPED_OLD_S}
    if found["shipped"].at and not found["taken"].tried:
        wrong["taken"] = "the log alone brings nothing back; florin backup"
    for what, each in found.items():
        if what not in wrong and each.at > now + _AHEAD_S:
            wrong[what] = f"the clock was set back: it went well last in {_span(each.at - now)}"
        # What was never verified is as old as the backup that should have been.
        since = each.at or (found["taken"].at if what == "verified" else 0.0)
        if what == "shipped" and not runs:
            continue
        if what not in wrong and since and now - since > limits[what]:
            wrong[what] = f"not {what} for {_span(now - since)}"
    return wrong


def backup_document(home: Home) -> dict[str, Any]:
    """For `florin status --json`."""
    found, now = read_outcomes(home), time.time()
    wrong = failing_backups(found, now)
    return {
        what: {"age_s": round(now - each.at, 1) if each.at else None, **each.more}
        | {"failing": wrong.get(what)}
        for what, each in found.items()
    }


def backup_line(shown: dict[str, Any]) -> str:
    """One line for a human; empty where no backup was ever tried."""
    words: list[str] = []
    for what, each in shown.items():
        if each["failing"]:
            words.append(f"NOT {what.upper()} ({each['failing']})")
        elif each["age_s"] is not None:
            words.append(f"{what} {_span(each['age_s'])} ago")
    return f"Backups: {', '.join(words)}." if words else ""


def backup_metrics(home: Home) -> str:
    """In Prometheus' text format, all series there from the beginning."""
    found = read_outcomes(home)
    wrong = failing_backups(found, time.time())
    lines: list[str] = []
    for name, says, values in (
        (
            "florin_backup_timestamp_seconds",
            "When this went well last; 0 for never.",
            {what: each.at for what, each in found.items()},
        ),
        (
            "florin_backup_failing",
            "1 while this fails, or is overdue.",
            {what: float(what in wrong) for what in WHATS},
        ),
    ):
        lines += [f"# HELP {name} {says}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{what="{what}"}} {value:.0f}' for what, value in values.items()]
    return "\n".join(lines) + "\n"


def _read(home: Home, what: What) -> BackupOutcome:
    try:
        return msgspec.json.decode(
            (home.path / "saved" / f"{what}.json").read_bytes(), type=BackupOutcome
        )
    except (OSError, msgspec.DecodeError):
        return BackupOutcome()


def _keep(home: Home, what: What, outcome: BackupOutcome) -> None:
    folder = home.path / "saved"
    folder.mkdir(mode=0o700, exist_ok=True)
    write_file(folder / f"{what}.json", msgspec.json.encode(outcome))


def _span(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
