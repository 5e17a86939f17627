"""Faults: what can go wrong, how to see that it did, and the alert that must arrive."""

import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from florin.cards.codes import make_code
from florin.kit import ids
from tests.journeys.alerts.watched_fleet import WatchedFleet, kept_frozen

Inject = Callable[[WatchedFleet], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class FaultCase:
    """`inject` lasts as long as its context. `also` may fire too: consequences that are no noise.

    `within_s` is from the injection to the receivers, `heals_s` from its end to the resolution.
    """

    name: str
    alert: str
    inject: Inject
    page: bool
    within_s: float
    also: frozenset[str] = frozenset()
    heals_s: float = 120


def frozen(role: str) -> Inject:
    @contextmanager
    def inject(watched: WatchedFleet) -> Generator[None]:
        with kept_frozen(watched.fleet, role):
            yield

    return inject


@contextmanager
def smuggled_cent(watched: WatchedFleet) -> Generator[None]:
    [card] = watched.sql("select id from florin.account order by id limit 1")
    change = "update florin.account set balance = balance + $2 where id = $1 returning 1"
    assert watched.sql(change, card["id"], 1)
    yield
    assert watched.sql(change, card["id"], -1)


@contextmanager
def dead_job(watched: WatchedFleet) -> Generator[None]:
    """A job that no attempt can complete: what it belongs to does not exist."""
    payload = {"merchant": str(ids.new_id()), "job": str(ids.new_id())}

    watched.sql(
        "insert into florin.outbox (queue, kind, payload, version, priority)"
        " values ('bulk', 'issue', $1::text::jsonb, 1, 0)",
        json.dumps(payload),
    )
    yield


@contextmanager
def guessed_codes(watched: WatchedFleet) -> Generator[None]:
    refused = 0
    with watched.http() as http:
        for _ in range(600):
            answer = http.post("/cards/lookup", json={"code": make_code()})
            refused += answer.status_code == 429
            if refused >= 40:
                break
    assert refused >= 40
    yield


PAGE, TICKET = True, False


CASES = (
    FaultCase("a cent is smuggled in", "LedgerUnbalanced", smuggled_cent, PAGE, 60),
    FaultCase("codes are guessed", "CodesGuessed", guessed_codes, TICKET, 60, heals_s=420),
    FaultCase("a job dies", "JobsDead", dead_job, TICKET, 60, heals_s=720),
    FaultCase("no instance answers", "InstancesDown", frozen("api"), PAGE, 60),
)
