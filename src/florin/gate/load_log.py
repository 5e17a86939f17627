"""Load log: what the load sent and received, and what should be in the ledger because of it."""

from dataclasses import dataclass, field

from florin.gate.client import CheckAnswer

_SAID_MOST = 5


@dataclass(slots=True)
class LoggedCard:
    """A card, and by the log: what was booked on it, and what may have been (no answer)."""

    id: str
    code: str
    booked: list[int] = field(default_factory=list[int])
    unknown: list[int] = field(default_factory=list[int])

    def log(self, amount: int, answer: CheckAnswer) -> None:
        if answer.ok:
            self.booked.append(amount)
        elif answer.unknown:
            self.unknown.append(amount)


@dataclass(slots=True)
class LoadLog:
    """The requests with their outcomes, and the cards."""

    requests: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list[str])  # the first failures
    routes: set[str] = field(default_factory=set[str])  # such as `POST /cards/{card}/close`
    wrong: list[str] = field(default_factory=list[str])  # answers with another amount
    cards: list[LoggedCard] = field(default_factory=list[LoggedCard])

    def record(self, route: str, answer: CheckAnswer) -> None:
        self.requests += 1
        self.routes.add(route)
        if not answer.ok:
            self.failed += 1
            if len(self.failures) < _SAID_MOST:
                self.failures.append(f"{route} {answer.status or 'no answer'}: {answer.reason}")

    def expect(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted and len(self.wrong) < _SAID_MOST:
            self.wrong.append(f"{what} is {seen}, but {wanted} is right")
