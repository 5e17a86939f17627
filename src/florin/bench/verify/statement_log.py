"""Statement log: what a PostgreSQL was asked and by whom, read from its own log."""

from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path

import msgspec

# Every statement, behind the name of the application that asked.
SETTINGS = {
    "log_statement": "all",
    "log_line_prefix": "%a|",
    "log_min_duration_statement": "-1",
}
_NEVER = ("florin.post", "florin.issue", "for update", "api_key", "idempotency")
_READS = ("select", "with recursive ")


class StatementCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one server was asked by the instances."""

    reads: int  # statements that a replica may answer
    decisions: int  # about money, keys or access


def read_statements(log: Path) -> Generator[tuple[str, str]]:
    """What a server was asked so far, as (application, statement), a statement on one line."""
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
            _, colon, statement = said.partition(": ")  # of what it did: `execute name: select …`
            words = [statement.strip()] if level == "LOG" and colon else []
    if words:
        yield application, " ".join(words).strip()


def is_decision(statement: str) -> bool:
    """Whether it decides about money, keys or access, or is no reading at all."""
    words = statement.lower()
    return not words.startswith(_READS) or any(never in words for never in _NEVER)


def classify_statements(
    primary: str, before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]]
) -> dict[str, StatementCounts]:
    """Sort what each server was asked in between. Pure.

    What a replica may answer is whatever the replicas were asked for, whoever answered it: the
    primary is asked for the same in the same words. Where a replica stands is no such question.
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
    """The part of the statements that replicas may answer which they were asked."""
    total = sum(server.reads for server in servers.values())
    return 1 - servers[primary].reads / total if total else 0.0
