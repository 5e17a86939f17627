"""Mutation: a change of the source that removes one guard."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replaces `find` by `put` in `file`, a path in the checkout; `tests`: arguments of pytest."""

    name: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]


def without(name: str, file: str, find: str, put: str, *tests: str) -> Mutation:
    return Mutation(name, file, find, put, tests)
