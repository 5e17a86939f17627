"""Mutation: one guard, and how it is taken away."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """`find` becomes `put` in `file`, a path in the checkout; `tests` are pytest's arguments."""

    name: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]


def without(name: str, file: str, find: str, put: str, *tests: str) -> Mutation:
    return Mutation(name, file, find, put, tests)
