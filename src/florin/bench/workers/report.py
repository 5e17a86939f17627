"""Report: the result of a worker benchmark as a table."""

from typing import Any

# The label and the format of each figure.
_LINES: dict[str, tuple[str, str]] = {
    "rate": ("rate", "{:,.0f}/s"),
    "outbox_rate": ("by the outbox", "{:,.0f}/s"),
    "pgqueuer_rate": ("PgQueuer", "{:,.0f}/s"),
    "sql_rate": ("bare SQL", "{:,.0f}/s"),
    "copy_rate": ("COPY", "{:,.0f}/s"),
    "ratio": ("ratio", "{:.2f}"),
    "outbox_ratio": ("by the outbox", "{:.2f}"),
    "rest_p99_ms": ("p99 at rest", "{:.2f} ms"),
    "bulk_p99_ms": ("p99, bulk", "{:.2f} ms"),
    "expiry_p99_ms": ("p99, expiry", "{:.2f} ms"),
    "rest_p50_ms": ("p50 at rest", "{:.2f} ms"),
    "bulk_p50_ms": ("p50, bulk", "{:.2f} ms"),
    "expiry_p50_ms": ("p50, expiry", "{:.2f} ms"),
    "bulk_growth": ("bulk", "p99 x {:.2f}"),
    "expiry_growth": ("expiry", "p99 x {:.2f}"),
    "bulk_rate": ("made", "{:,.0f} cards/s meanwhile"),
    "expiry_rate": ("expired", "{:,.0f} cards/s meanwhile"),
    "requests_rate": ("load", "{:,.0f} requests/s"),
    "rest_load": ("load", "{:.0f} % of the machine at rest, generator included"),
    "p50_ms": ("p50", "{:.1f} ms"),
    "p99_ms": ("p99", "{:.1f} ms"),
    "api_ms": ("CPU, API", "{:.3f} ms each"),
    "worker_ms": ("CPU, worker", "{:.4f} ms each"),
    "postgres_ms": ("CPU, PostgreSQL", "{:.4f} ms each"),
    "cpu_ms": ("CPU, both", "{:.3f} ms each"),
    "peak_rss_mb": ("memory", "{:.0f} MB at most, of a process"),
}


def text(document: dict[str, Any]) -> str:
    """Return the table of medians; the document has every round."""
    terms = ", ".join(f"{name} {value:,g}" for name, value in document["terms"].items())
    lines = [f"{document['name']}: {document['says']}", f"  {terms}", ""]
    lines += [
        f"  {name:<16}{form.format(document[figure])}"
        for figure, (name, form) in _LINES.items()
        if figure in document
    ]
    lines += [f"  {'target':<16}{_target(target)}" for target in document["targets"]]
    lines += ["", *(f"{name}: {said}." for name, said in document["notes"].items())]
    lines += [f"WRONG: {wrong}." for wrong in document["wrong"]]
    if not document["ok"]:
        lines.append("This run is not valid.")
    machine = document["machine"]
    lines.append(
        f"{machine['cores']} cores, {machine['model']}; {machine['postgres']}, fsync on;"
        f" commit {document['commit']}."
    )
    return "\n".join(lines)


def _target(target: dict[str, Any]) -> str:
    name = _LINES[target["what"]][0]
    met = "met" if target["met"] else "not met"
    return f"{name} {target['sense']} {target['bound']:,g}: {met}"
