"""Status: the outcomes of backups, saved for status, metrics and the doctor.

There are three operations: a backup is `taken`, the log is `shipped` to the bucket, and a restore
is `verified`. Each has the time of the last success, and the reason of a failure since then.
"""

import time
from typing import Any, Literal

import msgspec

from florin.ops.fleet.home import Home, write_file

What = Literal["taken", "shipped", "verified"]
WHATS: tuple[What, ...] = ("taken", "shipped", "verified")
OLD_S = 26 * 3600.0  # a day, and two hours of tolerance
_SHIPPED_OLD_S = 300.0
_AHEAD_S = 60.0  # tolerance for corrections of the clock


class BackupOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one operation.

    `at` is the last success and `tried` the last attempt in Unix seconds, 0 for never; `why` is the
    reason of a failure since the last success.
    """

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
    outcomes: dict[What, BackupOutcome], now: float, *, runs: bool = True
) -> dict[What, str]:
    """Return the failing or overdue operations with the reason. Pure.

    Operations that were never tried are left out, and `shipped` while the fleet is stopped.
    """
    wrong: dict[What, str] = {what: each.why for what, each in outcomes.items() if each.why}
    limits: dict[What, float] = {"taken": OLD_S, "verified": OLD_S, "shipped": _SHIPPED_OLD_S}
    if outcomes["shipped"].at and not outcomes["taken"].tried:
        wrong["taken"] = "the log cannot be restored without a backup; run florin backup"
    for what, each in outcomes.items():
        if what not in wrong and each.at > now + _AHEAD_S:
            ahead = _span(each.at - now)
            wrong[what] = f"the clock was set back: the last success is {ahead} in the future"
        # Before the first verification, its age is that of the last backup.
        since = each.at or (outcomes["taken"].at if what == "verified" else 0.0)
        if what == "shipped" and not runs:
            continue
        if what not in wrong and since and now - since > limits[what]:
            wrong[what] = f"not {what} for {_span(now - since)}"
    return wrong


def backup_document(home: Home) -> dict[str, Any]:
    """Return the outcomes for `florin status --json`."""
    found, now = read_outcomes(home), time.time()
    wrong = failing_backups(found, now)
    return {
        what: {"age_s": round(now - each.at, 1) if each.at else None, **each.more}
        | {"failing": wrong.get(what)}
        for what, each in found.items()
    }


def backup_line(shown: dict[str, Any]) -> str:
    """Return one line of text; empty if no backup was ever tried."""
    words: list[str] = []
    for what, each in shown.items():
        if each["failing"]:
            words.append(f"NOT {what.upper()} ({each['failing']})")
        elif each["age_s"] is not None:
            words.append(f"{what} {_span(each['age_s'])} ago")
    return f"Backups: {', '.join(words)}." if words else ""


def backup_metrics(home: Home) -> str:
    """Return the metrics in Prometheus' text format; all series exist from the start."""
    found = read_outcomes(home)
    wrong = failing_backups(found, time.time())
    lines: list[str] = []
    for name, says, values in (
        (
            "florin_backup_timestamp_seconds",
            "Time of the last success; 0 for never.",
            {what: each.at for what, each in found.items()},
        ),
        (
            "florin_backup_failing",
            "1 while the operation fails or is overdue.",
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
