"""Report: the result of a benchmark as a table."""

from typing import Any

_PARTS = {
    "balancer": "balancer",
    "api": "API",
    "postgres": "PostgreSQL",
    "generator": "generator",
}


def format_report(document: dict[str, Any]) -> str:
    """Return the table of medians; the document has every round."""
    lines = [f"{document['name']}: {document['says']}", f"  {_terms(document)}", ""]
    lines += [f"  {name:<12}{value}" for name, value in _rows(document)]
    lines += ["", *_books(document), _machine(document)]
    return "\n".join(lines)


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("rate", f"{document['rate']:,.0f}/s (median of the rounds)")]
    if document["ratio"] is not None:
        rows.append(("pgbench", f"{document['pgbench_rate']:,.0f}/s, {_clients(document)} clients"))
        rows.append(("ratio", f"{document['ratio']:.2f}"))
    rows.append(("p50", f"{document['p50_ms']:.2f} ms"))
    rows.append(("p99", f"{document['p99_ms']:.2f} ms"))
    if document["p99_growth"] is not None:
        rows.append(
            (
                "baseline",
                f"{document['beside_rate']:,.0f}/s, p99 {document['beside_p99_ms']:.2f} ms",
            )
        )
        rows.append(("p99 growth", f"{document['p99_growth']:.2f}"))
        rows.append(("API CPU", f"{document['api_cpu_growth']:.3f} times the baseline's"))
    rows += [("count", f"{document['count']:,}"), ("failures", str(document["failures"]))]
    for part, used in document["cpu"].items():
        share = f"{used['percent']:.0f} % of the machine"
        rows.append(
            ("CPU", f"{used['ms_per_request']:.3f} ms per request, {share}: {_PARTS[part]}")
        )
    rows.append(("memory", f"{document['peak_rss_mb']:.0f} MB at most, of an instance"))
    rows.append(("target", _target(document["target"])))
    return rows


def _terms(document: dict[str, Any]) -> str:
    terms = document["terms"]
    behind = " behind the balancer" if terms["balancer"] else ""
    return (
        f"{terms['connections']} connections, {terms['instances']} instance"
        f"{'' if terms['instances'] == 1 else 's'}{behind}, {terms['cards']:,} cards,"
        f" {terms['rounds']} rounds of {terms['seconds']:g} s"
    )


def _clients(document: dict[str, Any]) -> str:
    return str(document["rounds"][0]["pgbench"][0]["clients"])


def _target(target: dict[str, Any]) -> str:
    claim = f"{target['what']} {target['sense']} {target['bound']:g}"
    verdict = {True: "met", False: "not met", None: "not measured (add --against pgbench)"}
    return f"{claim}: {verdict[target['met']]}"


def _books(document: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for books in document["books"]:
        state = "balanced" if books["balanced"] else "NOT BALANCED"
        line = (
            f"Ledger {state}: {books['recorded']:,} redemptions recorded, {books['answered']:,}"
            f" answered, at most {books['in_flight_at_most']:,} in flight at the ends"
        )
        if books["pgbench_answered"] or books["pgbench_recorded"]:
            line += f"; pgbench's: {books['pgbench_recorded']:,} of {books['pgbench_answered']:,}"
        lines.append(f"{line}.")
        lines += [f"  {difference}" for difference in books["differences"]]
    if not document["ok"]:
        lines.append("This run is not valid: see the failures and the ledger differences.")
    return lines


def _machine(document: dict[str, Any]) -> str:
    machine = document["machine"]
    generator = (
        "wrk" if machine["generator"] == "wrk" else "Florin's own, slower than wrk (install wrk)"
    )
    return (
        f"{machine['cores']} cores, {machine['model']}; {machine['postgres']}, fsync on; generator:"
        f" {generator}; seed {document['terms']['seed']}; commit {document['commit']}."
    )
