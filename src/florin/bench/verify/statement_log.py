"""Statement log: the statements that a PostgreSQL server ran, by application, from its log."""

from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path

import msgspec

# Log every statement, prefixed with the application's name.
SETTINGS = {
    "log_statement": "all",
    "log_line_prefix": "%a|",
    "log_min_duration_statement": "-1",
}
_NEVER = (" post(", " issue(", "for update", "api_key", "idempotency")
_READS = ("select", "with recursive ")


class StatementCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The statements that instances sent to one server."""

    reads: int  # statements that a replica may answer
    decisions: int  # about money, keys or access


def read_statements(log: Path) -> Generator[tuple[str, str]]:
    """Return the logged statements as (application, statement), each statement on one line."""
    application, words = "", list[str]()
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("\t"):  # the statement goes on
                if words:
                    words.append(line.strip())
                continue
            if words:
                yield application, " ".join(words).strip()
            application, _, rest = line.partition("|")
            level, _, said = rest.partition(": ")
            _, colon, statement = said.partition(": ")  # for example `execute name: select …`
            words = [statement.strip()] if level == "LOG" and colon else []
    if words:
        yield application, " ".join(words).strip()


def is_decision(statement: str) -> bool:
    """Return whether a statement is about money, keys or access, or is not a read."""
    words = statement.lower()
    return not words.startswith(_READS) or any(never in words for never in _NEVER)


def classify_statements(
    primary: str, before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]]
) -> dict[str, StatementCounts]:
    """Count the statements of each server between two readings of its log. Pure.

    A statement counts as a replica read when any replica received it, also where the primary
    answered it: both receive the same text. Queries for a replica's position do not count.
    """
    asked = {name: after[name] - before[name] for name in after}
    shared = {
        what
        for name, each in asked.items()
        if name != primary
        for what in each
        if "florin." in what and not is_decision(what)
    }
    return {
        name: StatementCounts(
            reads=sum(count for what, count in each.items() if what in shared),
            decisions=sum(count for what, count in each.items() if is_decision(what)),
        )
        for name, each in asked.items()
    }


def replica_share(primary: str, servers: Mapping[str, StatementCounts]) -> float:
    """Return the share of the replica reads that replicas answered, from 0 to 1."""
    total = sum(server.reads for server in servers.values())
    return 1 - servers[primary].reads / total if total else 0.0
