"""Ledger view: the last comparison of the ledger's totals with its entries, from the metrics.

Every process reports what the database stored, so the highest value counts; one that has not read
it yet reports 0.
"""

from dataclasses import dataclass
from typing import Any

from florin.ops.alerting.fleet_metrics import (
    LEDGER_BALANCED_SINCE,
    LEDGER_CHECKED,
    LEDGER_ENTRIES,
    LEDGER_UNBALANCED,
)
from florin.ops.alerting.metric_history import MetricHistory
from florin.ops.operator_page.readings import format_time


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """`checked` and `since` are Unix time, 0 for never; `since`: of the first of the comparisons
    without a difference.
    """

    checked: float = 0.0
    unbalanced: int = 0
    entries: int = 0
    since: float = 0.0


def read_ledger(history: MetricHistory, before: LedgerReading) -> LedgerReading:
    """Return the newest comparison; the earlier one while no process reports any."""
    checked = max(history.values(LEDGER_CHECKED), default=0.0)
    if not checked:
        return before
    entries: dict[tuple[str, str], float] = {}
    for labels, value in history.labelled(LEDGER_ENTRIES).items():
        named = dict(labels)
        kind = (named.get("kind", ""), named.get("currency", ""))
        entries[kind] = max(entries.get(kind, 0.0), value)
    unbalanced = max(history.values(LEDGER_UNBALANCED), default=0.0)
    since = max(history.values(LEDGER_BALANCED_SINCE), default=0.0)
    return LedgerReading(checked, round(unbalanced), round(sum(entries.values())), since)


def describe_ledger(reading: LedgerReading, now: float) -> dict[str, Any]:
    """Return the part `books` of the document; `balanced` is None without a comparison."""
    if not reading.checked:
        return {"balanced": None}
    balanced = reading.unbalanced == 0
    return {
        "balanced": balanced,
        "balanced_since": format_time(reading.since) if balanced and reading.since else None,
        "unbalanced": reading.unbalanced,
        "entries": reading.entries,
        "checked_at": format_time(reading.checked),
        "checked_s": round(max(0.0, now - reading.checked), 1),
    }
